"""Networks in closed form: forward, backward, tangent, and the parameter gradient of many passes in one product.

Read in this order: base (what a net is), activations, mlp, highway (the trunk of iterative inference), lstm with lstm_cell
(over tokens, and its tangents), tokens (what they carry), encoders (more than one net), dropout (an encoder that overfits less).
"""
