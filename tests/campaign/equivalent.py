"""Mutants that change nothing that anybody could see, {room: {name: why}}: no test can kill them."""

EQUIVALENT = {
    "models/decoders": {
        "_NoSum.value: return np.zeros(0, self.dtype) -> return 1.001 *(np.zeros(0, self.dtype))": "no numbers are scaled",
        "FixedDecoder._known: False -> True": "a copy of parameters that nobody writes to",
    },
    "models/given_levels": {
        "GivenHierarchy.forward: return Passes([below, *above], [level.prior(record) for leve...n zip(self.levels, above)]) -> "
        "return 1.001 *(Passes([below, *above], [level.prior(record) ... zip(self.levels, above)]))": "no numbers are scaled",
    },
}
