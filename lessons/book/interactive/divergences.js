"use strict";
// The two divergences between a mixture p of two normals and a normal q, in one dimension. p = {pi: [2], mu: [2], s: [2]},
// q = {mean, sd}; nats. The inclusive q has p's moments; the exclusive q is searched for.

const normal = (x, mean, sd) => -0.5 * ((x - mean) / sd) ** 2 - Math.log(sd) - 0.5 * Math.log(2 * Math.PI);

/** The trapezoid rule for expectations under N(0, 1): nodes and weights. */
function rule(step) {
  const nodes = Array.from({ length: 2 * Math.round(8 / step) + 1 }, (_, i) => step * i - 8);
  return { nodes, weights: nodes.map((e) => step * Math.exp(normal(e, 0, 1))) };
}

const COARSE = rule(0.04), FINE = rule(0.005); // for a search; for what is shown

/** x -> [log p(x), d log p / dx]: the larger term first; its slope is both terms', each by its part of p(x). */
function density(p) {
  const [c, d] = [0, 1].map((k) => Math.log(p.pi[k]) + normal(0, 0, p.s[k])), [m, n] = p.mu, [s, t] = p.s.map((e) => e * e);
  return (x) => {
    const a = c - (0.5 * (x - m) ** 2) / s, b = d - (0.5 * (x - n) ** 2) / t, rest = Math.exp(-Math.abs(a - b));
    const first = (a > b ? 1 : rest) / (1 + rest);
    return [Math.max(a, b) + Math.log1p(rest), (-first * (x - m)) / s - ((1 - first) * (x - n)) / t];
  };
}

/** KL(q || p), what the exclusive loss minimises, and its derivatives by the mean and by log sd. */
function exclusiveKL(q, p, { nodes, weights } = FINE) {
  const at = density(p), found = { kl: normal(0, 0, q.sd) - 0.5, mean: 0, log_sd: -1 };
  nodes.forEach((e, i) => {
    const [value, slope] = at(q.mean + q.sd * e);
    found.kl -= weights[i] * value;
    found.mean -= weights[i] * slope;
    found.log_sd -= weights[i] * slope * q.sd * e;
  });
  return found;
}

/** KL(p || q), what the inclusive loss minimises: an expectation under each mode. */
function inclusiveKL(q, p) {
  const at = density(p), inner = (x) => at(x)[0] - normal(x, q.mean, q.sd);
  const under = (k) => FINE.nodes.reduce((sum, e, i) => sum + FINE.weights[i] * inner(p.mu[k] + p.s[k] * e), 0);
  return p.pi[0] * under(0) + p.pi[1] * under(1);
}

/** The normal that minimises KL(p || q): p's mean and variance. */
function inclusive(p) {
  const mean = p.pi[0] * p.mu[0] + p.pi[1] * p.mu[1];
  const square = [0, 1].reduce((sum, k) => sum + p.pi[k] * (p.s[k] ** 2 + (p.mu[k] - mean) ** 2), 0);
  return { mean, sd: Math.sqrt(square) };
}

/** A local minimum of KL(q || p) from q on: steps along the natural gradient, halved until they descend. */
function descended({ mean, sd }, p) {
  let best = { mean, sd, at: exclusiveKL({ mean, sd }, p, COARSE) };
  for (let k = 0, size = 1; k < 200 && size > 1e-6; k++) {
    const d = best.at;
    if (Math.hypot(d.mean * best.sd, d.log_sd) < 1e-8) break;
    for (; size > 1e-6; size /= 2) {
      const q = { mean: best.mean - size * best.sd ** 2 * d.mean, sd: best.sd * Math.exp(-0.5 * size * d.log_sd) };
      const next = { ...q, at: exclusiveKL(q, p, COARSE) };
      if (next.at.kl > d.kl) continue;
      [best, size] = [next, Math.min(1, 1.5 * size)];
      break;
    }
  }
  return { mean: best.mean, sd: best.sd, kl: best.at.kl };
}

/** The local minima of KL(q || p) that are found from both modes and from p's moments, the lowest first: {mean, sd, kl}. */
function exclusive(p) {
  const starts = [0, 1].map((k) => ({ mean: p.mu[k], sd: p.s[k] })).concat(inclusive(p));
  const found = starts.map((q) => descended(q, p)).sort((a, b) => a.kl - b.kl);
  const same = (a, b) => Math.abs(a.mean - b.mean) < 0.02 * a.sd && Math.abs(Math.log(a.sd / b.sd)) < 0.02;
  return found.filter((q, i) => !found.slice(0, i).some((other) => same(q, other)));
}

globalThis.savi = { exclusiveKL, inclusiveKL, inclusive, exclusive };

// --- the page ---

const $ = (id) => document.getElementById(id), number = (id) => Number($(id).value);
const LEFT = 40, RIGHT = 8, X = [-7, 7];
const HEIGHT = (width) => Math.max(290, width * 0.55);

function mixture() {
  const pi = number("pi_1"), pair = (name) => [number(`${name}_1`), number(`${name}_2`)];
  return { pi: [pi, 1 - pi], mu: pair("mu"), s: pair("s") };
}

/** A canvas as wide as its column, in CSS pixels, cleared. */
function prepared(canvas) {
  const width = Math.min(Math.max(canvas.parentElement.clientWidth, 240), 720), height = HEIGHT(width), scale = globalThis.devicePixelRatio || 1;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  [canvas.width, canvas.height] = [width * scale, height * scale];
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.fillStyle = "#fff";
  c.fillRect(0, 0, width, height);
  c.font = "12px sans-serif";
  return { c, width, height };
}

function drawDensities(p, curves) {
  const { c, width, height } = prepared($("densities")), floor = height - 36;
  const points = Array.from({ length: 561 }, (_, i) => X[0] + ((X[1] - X[0]) * i) / 560), at = density(p);
  const peak = Math.max(...points.map((x) => Math.exp(at(x)[0])), ...curves.map(({ q }) => 1 / (q.sd * Math.sqrt(2 * Math.PI))));
  const top = Math.min(peak, 1.25) * 1.3;
  const across = (x) => LEFT + ((x - X[0]) / (X[1] - X[0])) * (width - LEFT - RIGHT), up = (d) => floor - (Math.min(d, 2 * top) / top) * floor;
  c.fillStyle = "#000";
  c.textAlign = "center";
  for (let x = -6; x <= 6; x += 2) c.fillText(x, across(x), floor + 16);
  c.fillText("x", across(0), floor + 32);
  c.textAlign = "right";
  for (let d = 0; d < top; d += top > 0.8 ? 0.4 : top > 0.4 ? 0.2 : 0.1) c.fillText(d.toFixed(1), LEFT - 6, up(d) + 4);
  const trace = (height) => {
    c.beginPath();
    for (const x of points) c.lineTo(across(x), up(height(x)));
  };
  trace((x) => Math.exp(at(x)[0]));
  c.lineTo(across(X[1]), floor);
  c.lineTo(across(X[0]), floor);
  c.fillStyle = "#ddd";
  c.fill();
  for (const { q, ink, dash, thick } of curves) {
    trace((x) => Math.exp(normal(x, q.mean, q.sd)));
    [c.strokeStyle, c.lineWidth] = [ink, thick];
    c.setLineDash(dash);
    c.stroke();
  }
  c.setLineDash([]);
  p.mu.forEach((mu, k) => {
    c.beginPath();
    c.moveTo(across(mu), floor);
    c.lineTo(across(mu) - 6, floor - 12);
    c.lineTo(across(mu) + 6, floor - 12);
    c.closePath();
    c.fillStyle = "#000";
    c.fill();
    c.textAlign = "center";
    c.fillText(k + 1, across(mu), floor - 16);
  });
  key(c, curves);
}

/** What the lines are, at the top left of the picture. */
function key(c, curves) {
  c.textAlign = "left";
  c.fillStyle = "#ddd";
  c.fillRect(LEFT + 8, 6, 30, 12);
  c.fillStyle = "#000";
  c.fillText("p, density", LEFT + 44, 16);
  curves.forEach(({ name, ink, dash, thick }, i) => {
    c.beginPath();
    c.moveTo(LEFT + 8, 28 + 16 * i);
    c.lineTo(LEFT + 38, 28 + 16 * i);
    [c.strokeStyle, c.lineWidth] = [ink, thick];
    c.setLineDash(dash);
    c.stroke();
    c.fillText(name, LEFT + 44, 32 + 16 * i);
  });
  c.setLineDash([]);
}

function draw() {
  for (const output of document.querySelectorAll(".interactive output")) output.value = output.previousElementSibling.value;
  const p = mixture(), [best, ...others] = exclusive(p);
  const curves = [
    { name: "inclusive q", q: inclusive(p), ink: "#0072B2", dash: [9, 4], thick: 2.5 },
    { name: "exclusive q", q: best, ink: "#B03A00", dash: [], thick: 2.5 },
    ...others.map((q) => ({ name: "exclusive, another minimum", q, ink: "#B03A00", dash: [2, 3], thick: 1.5 })),
  ];
  drawDensities(p, curves);
  const cells = ({ q }) => [q.mean, q.sd, inclusiveKL(q, p), exclusiveKL(q, p).kl].map((v) => `<td>${v.toFixed(3)}</td>`).join("");
  $("found").innerHTML = curves.map((curve) => `<tr><th>${curve.name}</th>${cells(curve)}</tr>`).join("");
  const near = [0, 1].find((k) => Math.abs(best.mean - p.mu[k]) < p.s[k] && best.sd < 1.5 * p.s[k]);
  const sits = near === undefined ? "covers both modes" : `sits on mode ${near + 1}`;
  $("said").textContent = `The inclusive q has p's mean and deviation; the exclusive q ${sits}.`;
}

/** Move the mode that is nearest to where the pointer went down. */
function drag(event) {
  const x = X[0] + ((event.offsetX - LEFT) / ($("densities").clientWidth - LEFT - RIGHT)) * (X[1] - X[0]);
  if (event.type === "pointerdown") grabbed = Math.abs(x - number("mu_1")) < Math.abs(x - number("mu_2")) ? "mu_1" : "mu_2";
  $(grabbed).value = x;
  draw();
}

let grabbed = "mu_2";
$("densities").addEventListener("pointerdown", (event) => ($("densities").setPointerCapture(event.pointerId), drag(event)));
$("densities").addEventListener("pointermove", (event) => event.buttons && drag(event));
$("densities").addEventListener("keydown", (event) => {
  const sign = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!sign) return;
  event.preventDefault();
  $("mu_2").value = number("mu_2") + sign * 0.1;
  draw();
});
document.querySelector(".interactive").addEventListener("input", draw);
for (const event of ["load", "resize"]) addEventListener(event, draw);
draw();
