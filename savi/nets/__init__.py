"""Networks in closed form: forward, backward, tangent, and the parameter gradient of many passes in one product.

Read in this order: base (what a net is), activations, mlp, highway (the trunk of iterative inference), trunks (asked step by
step), cells (with a state), lstm with lstm_cell, lstm_stack and tokens (over words), encoders and level_encoders, dropout;
of images: convolution, strided, resnet (an encoder), gated, gated_head, pixelcnn with pixelcnn_passes and pixelcnn_sampling.
"""
