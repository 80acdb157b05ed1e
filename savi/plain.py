"""Every algorithm of savi on one page of bare NumPy, in the papers' letters: read this first. Nothing here is fast.

    x (B, M)      observations, 0 or 1         decoder (D, .., M)    layer sizes of p(x | z), parameters theta (P,)
    z (S, B, D)   latents, S samples of each   encoder (M, .., 2D)   layer sizes of enc(x), parameters phi (Q,)
    lam (B, 2D)   [mu, log_var] of q(z)        noise e (S, B, D)     of f; a method's K steps and its loss have K + 1
f = -ELBO is a loss (B,), in nats; d_lam is its gradient with respect to lam. A method returns loss (B,), d_theta (P,),
d_phi (Q,), sums over the batch. [SA]: semi-amortized VAEs, [LI]: learning to infer, [E2] ..: the equations of savi.
"""

import numpy as np


# --- A network: tanh layers, the last one affine; params are flat, layer by layer W (in, out), then b (out) ---
def mlp(x, params, sizes):
    h, record = x, []
    for m in sizes[1:]:
        n = h.shape[-1]
        W, b, params = params[: n * m].reshape(n, m), params[n * m : n * m + m], params[n * m + m :]
        record.append((h, W))
        a = h @ W + b
        h = np.tanh(a)
    return a, record


def backward(d_a, record):
    d_params = []
    for h, W in reversed(record):
        d_W = h[..., :, None] * d_a[..., None, :]
        d_params = [d_W.reshape(*d_a.shape[:-1], W.size), d_a, *d_params]
        d_h = d_a @ W.T
        d_a = d_h * (1 - h**2)
    return d_h, np.concatenate(d_params, axis=-1)  # J^T d_a: of x (.., in) and of each row's params (.., P)


# --- The bound: f = -ELBO = KL(q(z) || p(z)) - E_q[log p(x | z)], z = mu + sigma e, x of logits a  [E2], [E3], [E8]
def kl(lam, lam_p):  # KL(N(mu, s2) || N(mu_p, s2_p)), and its gradient with respect to lam
    (mu, log_var), (mu_p, log_var_p) = np.split(lam, 2, axis=1), np.split(lam_p, 2, axis=1)
    s2, s2_p = np.exp(log_var), np.exp(log_var_p)
    value = 0.5 * (log_var_p - log_var + (s2 + (mu - mu_p) ** 2) / s2_p - 1).sum(axis=1)
    return value, np.hstack([(mu - mu_p) / s2_p, 0.5 * (s2 / s2_p - 1)])


def f(lam, theta, x, noise, decoder):
    mu, log_var = np.split(lam, 2, axis=1)
    a, _ = mlp(mu + np.exp(log_var / 2) * noise, theta, decoder)
    log_px = (x * a - np.logaddexp(0, a)).sum(axis=2)
    return kl(lam, 0 * lam)[0] - log_px.mean(axis=0)  # lam = 0 is the prior N(0, I)


# --- Its gradient: the error e_x = x - mu_x goes back through the decoder, J^T e_x  [E8], [E11], [E13] ---
def grad_f(lam, theta, x, noise, decoder, weights=1.0):
    mu, log_var = np.split(lam, 2, axis=1)
    sigma_e = np.exp(log_var / 2) * noise
    a, record = mlp(mu + sigma_e, theta, decoder)
    e_x = x - 0.5 * (1 + np.tanh(a / 2))  # mu_x = sigmoid(a)
    d_z, d_theta = backward(e_x, record)  # of log p(x | z)
    d_lam = kl(lam, 0 * lam)[1] - np.hstack([d_z.mean(axis=0), (d_z * sigma_e / 2).mean(axis=0)])
    return f(lam, theta, x, noise, decoder), d_lam, -(weights * d_theta.mean(axis=0).T).sum(axis=1)


# --- H_{lam,lam} v and H_{theta,lam} v: (grad f(lam + r v) - grad f(lam - r v)) / 2r, r per example  [SA] section 3
def hessian_product(lam, theta, x, noise, decoder, v):
    r = 1e-5 / np.maximum(np.abs(v).max(axis=1, keepdims=True), 1e-300)
    _, lam_plus, theta_plus = grad_f(lam + r * v, theta, x, noise, decoder, weights=0.5 / r[:, 0])
    _, lam_minus, theta_minus = grad_f(lam - r * v, theta, x, noise, decoder, weights=0.5 / r[:, 0])
    return (lam_plus - lam_minus) * 0.5 / r, theta_plus - theta_minus


# --- SVI: K steps of gradient ascent on the ELBO; theta follows f at lam_K  [SA] section 2 ---
def svi(lam_0, theta, x, noise, decoder, alpha, gamma=0.0):
    lam, v, K = [lam_0], 0.0, len(noise) - 1
    for k in range(K):
        v = gamma * v - grad_f(lam[k], theta, x, noise[k], decoder)[1]
        lam.append(lam[k] + alpha * v)
    return *grad_f(lam[K], theta, x, noise[K], decoder), lam  # loss, d_lam, d_theta, [lam_0, .., lam_K]


# --- VAE: lam = enc(x; phi)  [SA] section 2 ---
def vae(theta, phi, x, noise, decoder, encoder):
    lam, record = mlp(x, phi, encoder)
    loss, d_lam, d_theta = grad_f(lam, theta, x, noise[0], decoder)
    return loss, d_theta, backward(d_lam, record)[1].sum(axis=0)


# --- SA-VAE: SVI from the encoder's lam; the final loss's gradient flows back through all K steps  [SA] Algorithm 1 ---
def sa_vae(theta, phi, x, noise, decoder, encoder, alpha, gamma=0.0, product=hessian_product):
    lam_0, record = mlp(x, phi, encoder)
    loss, lam_bar, theta_bar, lam = svi(lam_0, theta, x, noise, decoder, alpha, gamma)
    v_bar, K = 0.0, len(noise) - 1
    for k in reversed(range(K)):
        v_bar = v_bar + alpha * lam_bar
        H_lam_v, H_theta_v = product(lam[k], theta, x, noise[k], decoder, v_bar)
        lam_bar = lam_bar - H_lam_v
        theta_bar = theta_bar - H_theta_v
        v_bar = gamma * v_bar
    return loss, theta_bar, backward(lam_bar, record)[1].sum(axis=0)


# --- VAE+SVI: theta follows f at lam_K; phi follows f at lam_0, or (+KL) KL(q(z; lam_0) || q(z; lam_K))  [SA] Table 2
def vae_svi(theta, phi, x, noise, decoder, encoder, alpha, gamma=0.0, with_kl=False):
    lam_0, record = mlp(x, phi, encoder)
    loss, _, d_theta, lam = svi(lam_0, theta, x, noise, decoder, alpha, gamma)
    d_lam_0 = kl(lam_0, lam[-1])[1] if with_kl else grad_f(lam_0, theta, x, noise[0], decoder)[1]
    return loss, d_theta, backward(d_lam_0, record)[1].sum(axis=0)


# --- Iterative inference: a network learns the step, lam_{t+1} = g lam_t + (1 - g) c  [LI] Algorithm 1, eq. 62 ---
def iterative(theta, phi, x, noise, decoder, network, alpha=0.1, eps=1e-5):
    lam, d_phi, T = np.zeros((len(x), 2 * decoder[0])), 0.0, len(noise) - 1  # network (6D, .., 4D), its parameters phi
    _, d_lam, _ = grad_f(lam, theta, x, noise[0], decoder)
    for t in range(T):
        encoding = np.hstack([alpha * np.log(np.abs(d_lam) + eps), np.sign(-d_lam), lam])
        output, record = mlp(encoding, phi, network)
        c, logits = np.split(output, 2, axis=1)
        g, lam_t = 0.5 * (1 + np.tanh(logits / 2)), lam
        lam = g * lam_t + (1 - g) * c
        loss, d_lam, d_theta = grad_f(lam, theta, x, noise[t + 1], decoder)
        d_output = np.hstack([(1 - g) * d_lam, (lam_t - c) * g * (1 - g) * d_lam])
        d_phi = d_phi + backward(d_output, record)[1].sum(axis=0) / T
    return loss, d_theta, d_phi
