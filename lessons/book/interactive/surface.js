"use strict";
// q on the ELBO's surface of one sequence. DATA, in front of this file in the book, is surface.json: log p(x | z) on a grid.
// lam = [mu_1, mu_2, log_var_1, log_var_2] as in savi; nats; the ELBO is maximised.

const TABLE = DATA.hundredths.map((row) => row.map((v) => v / 100));
const AXIS = TABLE.map((_, i) => DATA.spacing * (i - (TABLE.length - 1) / 2));

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** q's weights w on the axis, which sum to one, and their derivatives by the mean and by the log-variance. */
function weights(mu, logVar) {
  const v = Math.exp(logVar), p = AXIS.map((a) => Math.exp((-0.5 * (a - mu) ** 2) / v));
  const total = p.reduce((a, b) => a + b), w = p.map((e) => e / total);
  const slopes = (s, mean = dot(w, s)) => s.map((e, i) => w[i] * (e - mean)); // d w = w (d log p - its mean under w)
  return { w, mu: slopes(AXIS.map((a) => (a - mu) / v)), logVar: slopes(AXIS.map((a) => (0.5 * (a - mu) ** 2) / v)) };
}

/** The ELBO at lam and its gradient (4): E_q[log p(x | z)] summed over the grid, minus KL(q || N(0, I)), [E3]. */
function elbo(lam) {
  const [a, b] = [weights(lam[0], lam[2]), weights(lam[1], lam[3])];
  const right = TABLE.map((row) => dot(row, b.w)); // E over z_2, for each z_1
  const expected = (rowWeights, columnWeights) => dot(rowWeights, TABLE.map((row) => dot(row, columnWeights)));
  let kl = 0;
  for (const i of [0, 1]) kl += 0.5 * (Math.exp(lam[i + 2]) + lam[i] ** 2 - 1 - lam[i + 2]);
  const gradient = [
    dot(a.mu, right) - lam[0],
    expected(a.w, b.mu) - lam[1],
    dot(a.logVar, right) - 0.5 * (Math.exp(lam[2]) - 1),
    expected(a.w, b.logVar) - 0.5 * (Math.exp(lam[3]) - 1),
  ];
  return { value: dot(a.w, right) - kl, gradient };
}

/** SVI's path lam_0 ... lam_K: v = gamma v + gradient of the ELBO; lam = lam + alpha v, alpha * ratio for log-variances. */
function path(lam, K, alpha, ratio, gamma) {
  const found = [lam];
  let v = [0, 0, 0, 0];
  for (let k = 0; k < K; k++) {
    const g = elbo(lam).gradient;
    v = v.map((e, i) => gamma * e + g[i]);
    lam = lam.map((e, i) => e + alpha * (i < 2 ? 1 : ratio) * v[i]);
    found.push(lam);
  }
  return found;
}

/** The ELBO at n x n means, at fixed log-variances: savi's quadrature.surface. */
function surface(means1, means2, logVar) {
  const columns = means2.map((m) => weights(m, logVar[1]).w), turned = AXIS.map((_, j) => TABLE.map((row) => row[j]));
  const kl = (m, l) => 0.5 * (Math.exp(l) + m * m - 1 - l);
  return means1.map((m) => {
    const w = weights(m, logVar[0]).w, row = turned.map((column) => dot(w, column));
    return columns.map((c, j) => dot(row, c) - kl(m, logVar[0]) - kl(means2[j], logVar[1]));
  });
}

const BEST = elbo(DATA.lams.best).value; // no diagonal Gaussian has a higher bound

/** {loss, gap, approximation, amortization} of a q. */
function gaps(lam) {
  const own = elbo(lam).value;
  return { loss: -own, gap: DATA.log_px - own, approximation: DATA.log_px - BEST, amortization: BEST - own };
}

globalThis.savi = { elbo, path, surface, gaps };

// --- the page ---

const $ = (id) => document.getElementById(id), number = (id) => Number($(id).value);
const LOW = [-1.5, -2.25], SIDE = 4.5, N = 91, LEFT = 40, BELOW = 74;
const LEVELS = [-30, -20, -15, -10, -7, -5, -3, -2, -1, -0.5, -0.2]; // nats below the best Gaussian
const SHADES = LEVELS.concat(0).map((_, i) => 40 + Math.round((i * 210) / LEVELS.length));
const MEANS = [0, 1].map((d) => Array.from({ length: N }, (_, i) => LOW[d] + (SIDE * i) / (N - 1)));
let shaded = null; // the surface's picture at the deviations for which it was drawn

const q = () => [number("mu_1"), number("mu_2"), 2 * Math.log(number("sd_1")), 2 * Math.log(number("sd_2"))];
const start = () => ({ prior: [0, 0, 0, 0], q: q() })[$("start").value] || DATA.lams[$("start").value];
const inside = (lam) => lam.every(Number.isFinite) && lam.slice(0, 2).every((m) => Math.abs(m) < 5) && Math.min(lam[2], lam[3]) > -5;

/** A canvas as wide as its column, in CSS pixels, cleared. */
function prepared(canvas, height) {
  const width = Math.min(Math.max(canvas.parentElement.clientWidth, 240), 560), scale = globalThis.devicePixelRatio || 1;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height(width)}px`;
  [canvas.width, canvas.height] = [width * scale, height(width) * scale];
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.fillStyle = "#fff";
  c.fillRect(0, 0, width, height(width));
  c.font = "12px sans-serif";
  return { c, width };
}

/** The surface in bands of grey, whose borders are contour lines. */
function picture(logVar) {
  const key = logVar.join();
  if (shaded?.key === key) return shaded.canvas;
  const heights = surface(MEANS[0], MEANS[1], logVar), size = 320;
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const c = canvas.getContext("2d"), image = c.createImageData(size, size);
  for (let y = 0, at = 0; y < size; y++)
    for (let x = 0; x < size; x++, at += 4) {
      const u = (x * (N - 1)) / size, v = ((size - 1 - y) * (N - 1)) / size, i = Math.floor(u), j = Math.floor(v);
      const low = heights[i][j] + (v - j) * (heights[i][j + 1] - heights[i][j]);
      const high = heights[i + 1][j] + (v - j) * (heights[i + 1][j + 1] - heights[i + 1][j]);
      const below = low + (u - i) * (high - low) - BEST;
      let band = 0;
      while (band < LEVELS.length && LEVELS[band] < below) band++;
      image.data[at] = image.data[at + 1] = image.data[at + 2] = SHADES[band];
      image.data[at + 3] = 255;
    }
  c.putImageData(image, 0, 0);
  shaded = { key, canvas };
  return canvas;
}

/** A marker with a white border: "circle", "square", "triangle", "star" or "cross". */
function marker(c, kind, x, y, r, fill) {
  c.beginPath();
  if (kind === "circle") c.arc(x, y, r, 0, 2 * Math.PI);
  if (kind === "square") c.rect(x - r, y - r, 2 * r, 2 * r);
  const corners = { triangle: 3, star: 10 }[kind] || 0;
  for (let i = 0; i < corners; i++) {
    const angle = (2 * Math.PI * i) / corners - Math.PI / 2, far = kind === "star" && i % 2 ? r * 0.45 : r * 1.3;
    c.lineTo(x + far * Math.cos(angle), y + far * Math.sin(angle));
  }
  if (corners) c.closePath();
  for (const s of kind === "cross" ? [-1, 1] : []) {
    c.moveTo(x - r, y - s * r);
    c.lineTo(x + r, y + s * r);
  }
  c.lineWidth = 4;
  c.strokeStyle = "#fff";
  c.stroke();
  c.lineWidth = 1.8;
  c.strokeStyle = "#000";
  c.stroke();
  c.fillStyle = fill;
  if (kind !== "cross") c.fill();
}

function drawMap(steps) {
  const { c, width } = prepared($("map"), (w) => w - LEFT + BELOW), side = width - LEFT - 8;
  const place = (m) => [LEFT + ((m[0] - LOW[0]) / SIDE) * side, 8 + side - ((m[1] - LOW[1]) / SIDE) * side];
  const lam = q(), [x, y] = place(lam);
  c.drawImage(picture(lam.slice(2)), LEFT, 8, side, side);
  c.save();
  c.beginPath();
  c.rect(LEFT, 8, side, side);
  c.clip();
  for (const [ink, thick] of [["#fff", 5], ["#0072B2", 2.5]]) {
    c.beginPath();
    for (const step of steps) c.lineTo(...place(step));
    [c.strokeStyle, c.lineWidth] = [ink, thick];
    c.stroke();
  }
  steps.forEach((step) => marker(c, "circle", ...place(step), 2.5, "#0072B2"));
  for (const mode of DATA.modes) marker(c, "cross", ...place(mode), 5);
  for (const [name, fill] of [["best", "#F0E442"], ["lower", "#fff"]]) marker(c, "star", ...place(DATA.lams[name]), 7, fill);
  marker(c, "square", ...place(DATA.lams.vae), 5, "#000");
  marker(c, "triangle", ...place(DATA.lams["sa-vae"]), 5.5, "#D55E00");
  marker(c, "circle", ...place(steps.at(-1)), 5, "#0072B2");
  for (const [ink, thick] of [["#fff", 4], ["#000", 1.5]]) {
    c.beginPath();
    c.ellipse(x, y, (number("sd_1") / SIDE) * side, (number("sd_2") / SIDE) * side, 0, 0, 2 * Math.PI);
    [c.strokeStyle, c.lineWidth] = [ink, thick];
    c.stroke();
  }
  marker(c, "circle", x, y, 6, "#fff");
  c.restore();
  axes(c, side);
}

function axes(c, side) {
  c.fillStyle = "#000";
  c.textAlign = "center";
  for (let m = -1; m <= 2; m++) {
    c.fillText(m, LEFT + ((m - LOW[0]) / SIDE) * side, side + 22);
    c.fillText(m, LEFT - 12, 12 + side - ((m - LOW[1]) / SIDE) * side);
  }
  c.fillText("mean \u03bc\u2081", LEFT + ((0.5 - LOW[0]) / SIDE) * side, side + 22);
  c.save();
  c.translate(12, side / 2 - 40);
  c.rotate(-Math.PI / 2);
  c.fillText("mean \u03bc\u2082", 0, 0);
  c.restore();
  const wide = side / SHADES.length;
  SHADES.forEach((shade, i) => {
    c.fillStyle = `rgb(${shade},${shade},${shade})`;
    c.fillRect(LEFT + i * wide, side + 30, wide, 12);
    c.fillStyle = "#000";
    if (i) c.fillText(LEVELS[i - 1], LEFT + i * wide, side + 55);
  });
  c.fillText("ELBO below the best Gaussian's (nats), at q's deviations", LEFT + side / 2, side + 70);
}

function drawBars(rows) {
  const { c, width } = prepared($("bars"), () => 40 + 26 * rows.length), left = 110, room = width - left - 52;
  const most = Math.max(2, ...rows.map(([, g]) => g.gap).filter((gap) => gap < 12));
  const x = (gap) => left + (Math.min(gap, most) / most) * room;
  rows.forEach(([name, g], i) => {
    const y = 8 + 26 * i;
    c.fillStyle = "#000";
    c.textAlign = "right";
    c.fillText(name, left - 6, y + 13);
    c.fillStyle = "#555";
    c.fillRect(left, y, x(g.approximation) - left, 18);
    c.strokeStyle = "#000";
    c.lineWidth = 1;
    c.strokeRect(x(g.approximation), y, x(g.gap) - x(g.approximation), 18);
    c.save(); // the rest is hatched, so that the two are told apart without colour
    c.beginPath();
    c.rect(x(g.approximation), y, x(g.gap) - x(g.approximation), 18);
    c.clip();
    c.beginPath();
    for (let h = left; h < width; h += 6) (c.moveTo(h, y + 18), c.lineTo(h + 18, y));
    c.stroke();
    c.restore();
    c.textAlign = "left";
    c.fillStyle = "#000";
    c.fillText(g.gap > most ? `${g.gap.toFixed(1)} \u2192` : g.gap.toFixed(2), x(g.gap) + 5, y + 13);
  });
  c.fillText("gap in nats: full, approximation; hatched, amortization", 8, 28 + 26 * rows.length);
}

function draw() {
  for (const output of document.querySelectorAll(".interactive output")) {
    const input = output.previousElementSibling;
    output.value = input.id === "alpha" ? (10 ** input.value).toPrecision(2) : input.value;
  }
  const all = path(start(), number("K"), 10 ** number("alpha"), number("ratio"), number("gamma"));
  const out = all.findIndex((lam) => !inside(lam)), steps = out < 0 ? all : all.slice(0, Math.max(out, 1));
  const rows = [["q", gaps(q())], ["VAE's guess", gaps(DATA.lams.vae)], ["SA-VAE's guess", gaps(DATA.lams["sa-vae"])]];
  rows.splice(1, 0, [`SVI, ${steps.length - 1} steps`, gaps(steps.at(-1))]);
  drawMap(steps);
  drawBars(rows);
  $("gaps").innerHTML = rows
    .map(([name, g]) => `<tr><th>${name}</th>${Object.values(g).map((v) => `<td>${v.toFixed(3)}</td>`).join("")}</tr>`)
    .join("");
  const hill = (lam) => ["best", "lower"].find((top) => Math.hypot(lam[0] - DATA.lams[top][0], lam[1] - DATA.lams[top][1]) < 0.5);
  const where = { best: "on the higher hill", lower: "on the lower hill" }[hill(steps.at(-1))] || "on neither hill yet";
  $("said").textContent = out < 0 ? `SVI ends ${where}.` : `SVI runs away: at step ${out} it has left the page's grid.`;
}

/** Move q's means to the place of the map where the pointer is. */
function drag(event) {
  const side = $("map").clientWidth - LEFT - 8;
  $("mu_1").value = LOW[0] + ((event.offsetX - LEFT) / side) * SIDE;
  $("mu_2").value = LOW[1] + ((8 + side - event.offsetY) / side) * SIDE;
  draw();
}

$("map").addEventListener("pointerdown", (event) => ($("map").setPointerCapture(event.pointerId), drag(event)));
$("map").addEventListener("pointermove", (event) => event.buttons && drag(event));
$("map").addEventListener("keydown", (event) => {
  const [id, sign] = { ArrowLeft: ["mu_1", -1], ArrowRight: ["mu_1", 1], ArrowDown: ["mu_2", -1], ArrowUp: ["mu_2", 1] }[event.key] || [];
  if (!id) return;
  event.preventDefault();
  $(id).value = number(id) + sign * 0.05;
  draw();
});
document.querySelector(".interactive").addEventListener("input", draw);
for (const event of ["load", "resize"]) addEventListener(event, draw);
draw();
