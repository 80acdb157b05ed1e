"""Networks in closed form: forward, backward, tangent, and the parameter gradient of many passes in one product.

Read in this order: base (what a net is), activations, mlp, highway (the trunk of iterative inference), lstm with lstm_cell
(over tokens), encoders (from x to lam, where that is more than one net), dropout (an encoder that overfits less); of images:
convolution, strided, resnet (an encoder), gated, pixelcnn with pixelcnn_passes and pixelcnn_sampling (a decoder).
"""
