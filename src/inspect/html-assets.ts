/** The style sheet and the script of the page that html.ts writes. */

export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2127; --faint: #5d6875; --line: #d9dee5; --panel: #f4f6f8;
  --none: #dde4ec; --all: #c2410c; --tile-ink: #1c2127; --strong-ink: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --ink: #e6eaef; --faint: #98a3b0; --line: #303841; --panel: #1c2229;
    --none: #2c3641; --all: #c2500f; --tile-ink: #eef1f4; --strong-ink: #ffffff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1280px; padding: 24px; background: var(--paper); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
h1 { font-size: 20px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 32px 0 8px; }
header p, .caption, .remark, .scale { color: var(--faint); }
header p { margin: 4px 0 0; }
dl { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
dl div { flex: 1 1 150px; padding: 12px 14px; background: var(--panel); border-radius: 8px; }
dl .first { flex-grow: 1.6; outline: 2px solid var(--all); }
dt { color: var(--faint); font-size: 12px; }
dd { margin: 0; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; }
dd.remark { font-size: 12px; font-weight: 400; }
.views { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; margin-bottom: 8px; }
button {
  font: inherit; color: inherit; padding: 4px 12px; border: 1px solid var(--line); border-radius: 6px;
  background: var(--panel); cursor: pointer;
}
button[aria-selected=true] { border-color: var(--ink); font-weight: 600; }
.scale { margin-left: auto; font-size: 12px; }
.scale i {
  display: inline-block; width: 120px; height: 10px; border-radius: 3px; vertical-align: middle;
  background: linear-gradient(to right in oklab, var(--none), var(--all));
}
nav { min-height: 20px; font-size: 12px; color: var(--faint); overflow-wrap: anywhere; }
/* Never so low that a directory's heading, a fixed part of the height, were lower than its text. */
.map { position: relative; height: clamp(560px, 52vw, 660px); overflow: hidden; background: var(--line); border-radius: 6px; }
.tile {
  position: absolute; overflow: hidden; padding: 1px 4px; white-space: nowrap; text-overflow: ellipsis;
  font-size: 12px; line-height: 16px; border-radius: 2px; color: var(--tile-ink);
  background: color-mix(in oklab, var(--none), var(--all) var(--share));
  box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--paper) 55%, transparent);
}
.tile.strong { color: var(--strong-ink); }
.tile[role=button] { cursor: pointer; }
.tile[role=button]:hover, .tile:focus-visible { outline: 2px solid var(--ink); outline-offset: -2px; }
.tile b { font-weight: 600; }
.rest b { font-weight: 400; font-style: italic; }
.caption { margin: 6px 0 0; font-size: 12px; }
.nothing { padding: 48px; text-align: center; background: var(--panel); border-radius: 6px; color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 16px 4px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { color: var(--faint); font-size: 12px; font-weight: 400; }
tbody th, th.name { width: 100%; min-width: 240px; text-align: left; font-weight: 400; white-space: normal; overflow-wrap: anywhere; }
.bar { display: inline-block; width: 48px; height: 8px; margin-left: 6px; border-radius: 2px; background:
  linear-gradient(to right, var(--all) var(--share), var(--none) var(--share)); }
li { margin: 4px 0; overflow-wrap: anywhere; }
`

export const PAGE_SCRIPT = `
'use strict';
for (const button of document.querySelectorAll('[data-view]')) {
  button.addEventListener('click', () => {
    for (const other of document.querySelectorAll('[data-view]')) other.setAttribute('aria-selected', other === button);
    for (const view of document.querySelectorAll('.view')) view.hidden = view.id !== button.dataset.view;
  });
}
for (const view of document.querySelectorAll('.view')) {
  const tiles = [...view.querySelectorAll('.tile')].map((element) => {
    const [left, top, width, height] = element.dataset.place.split(' ').map(Number);
    return { element, left, top, width, height, depth: Number(element.dataset.depth), path: element.dataset.path };
  });
  if (tiles.length === 0) continue;
  const whole = { left: 0, top: 0, width: 100, height: 100, depth: 0, path: tiles[0].path };
  const nav = view.querySelector('nav');
  const history = [whole];
  const covers = (outer, inner) => inner.left >= outer.left - 0.01 && inner.top >= outer.top - 0.01 &&
    inner.left + inner.width <= outer.left + outer.width + 0.01 && inner.top + inner.height <= outer.top + outer.height + 0.01;
  const show = (target) => {
    for (const tile of tiles) {
      const { style } = tile.element;
      style.display = target === whole || covers(target, tile) ? '' : 'none';
      style.left = (tile.left - target.left) / target.width * 100 + '%';
      style.top = (tile.top - target.top) / target.height * 100 + '%';
      style.width = tile.width / target.width * 100 + '%';
      style.height = tile.height / target.height * 100 + '%';
    }
    nav.textContent = target.path;
    if (history.length > 1) {
      const back = document.createElement('button');
      back.type = 'button';
      back.textContent = 'back';
      back.addEventListener('click', () => { history.pop(); show(history.at(-1)); });
      nav.prepend(back, ' ');
    }
  };
  const enter = (tile) => {
    if (tile.element.getAttribute('role') !== 'button') return;
    if (history.at(-1) === tile || tile.depth === 0) return;
    history.push(tile);
    show(tile);
  };
  for (const tile of tiles) {
    tile.element.addEventListener('click', () => enter(tile));
    tile.element.addEventListener('keydown', (event) => { if (event.key === 'Enter') enter(tile); });
  }
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !view.hidden && history.length > 1) { history.pop(); show(history.at(-1)); }
  });
  show(whole);
}
`
