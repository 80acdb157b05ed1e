"""Mutants that change nothing that anybody could see, {room: {name: why}}: no test can kill them."""

EQUIVALENT = {}
