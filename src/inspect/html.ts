/**
 * A report as one page that needs nothing else: the sums, a map of the directories, the tables. Light or dark as the reader
 * has it; readable without scripts, which only add zooming.
 */
import { countOf, formatBytes, formatCount, formatShare } from '../util/human.ts'
import { PAGE_SCRIPT, PAGE_STYLE } from './html-assets.ts'
import type { Measurement } from './measure.ts'
import { printableName } from './names.ts'
import { type Figures, groupName, type Report, shownSums } from './report.ts'
import { type Tile, treemapTiles } from './treemap.ts'

/** By this a page is known for one, which may be replaced: a page of another version is not, if this is changed. ASCII. */
export const PAGE_BEGINNING = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="samepage inspect">
`

export function toHtml(measurement: Measurement, report: Report): string {
  const { totals } = report
  const { directories } = measurement
  const title = `samepage inspect ${report.paths.map(printableName).join(' ')}`
  const share = totals.cachedBytes === 0 ? 0 : totals.duplicateBytes / totals.cachedBytes
  const shown = shownSums(report)
  const views = [
    {
      id: 'now',
      label: 'Cached now',
      caption: 'Area: bytes in memory now.',
      nothing: 'Nothing of these trees is in memory now.',
      tiles: treemapTiles(measurement, { area: directories.cached, surplus: directories.duplicate }),
    },
    {
      id: 'all',
      label: 'If all were read',
      caption: 'Area: bytes of blocks, as memory would hold them if every file were read.',
      nothing: 'These trees hold no data.',
      tiles: treemapTiles(measurement, { area: directories.allocated, surplus: directories.potential }),
    },
  ]
  return `${PAGE_BEGINNING}<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p>${countOf(totals.files, 'file')} in ${countOf(totals.directories, 'directory', 'directories')} · ${escapeHtml(report.startedAt)} · samepage ${escapeHtml(report.samepage)}</p>
</header>
<dl>
${sum('Cached more than once now', shown.duplicate, totals.cachedBytes === 0 ? '' : `${formatShare(share)} of what is cached`, true)}
${sum('Cached now', shown.cached)}
${sum('If all were read', shown.potential, 'would be copies')}
${sum('Read more than once', shown.reread, 'from the device')}
${sum('Shared by clones', shown.shared, countOf(totals.sharingFiles, 'file'))}
${sum('On disk', shown.disk, `${formatBytes(totals.allocatedBytes)} for du`)}
</dl>
${contentSums(report)}
<section>
<h2>Directories</h2>
<div class="views" role="tablist">${views.map(({ id, label }, at) => `<button type="button" role="tab" data-view="${id}" aria-selected="${at === 0}">${label}</button>`).join('')}
<span class="scale">share that is duplicate: 0% <i></i> 100%</span></div>
${views.map((view, at) => mapOf(view, at > 0)).join('\n')}
</section>
${table('By directory', report.directories, (row) => row.path, [['Files', (row) => formatCount(row.files)]])}
${table('By group of clones', report.groups, groupName, [
  ['Files', (row) => formatCount(row.files)],
  ['Shared', (row) => formatBytes(row.sharedBytes)],
])}
${table('By file', report.files, (row) => row.path, [
  ['Shared', (row) => formatBytes(row.sharedBytes)],
  ['Size', (row) => formatBytes(row.sizeBytes)],
])}
${table('Most divided files', report.divided, (row) => row.path, [
  ['Pieces', (row) => formatCount(row.pieces)],
  ['Shared', (row) => formatBytes(row.sharedBytes)],
])}
${notes(report)}
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`
}

function sum(label: string, amount: string, remark = '', isFirst = false): string {
  return `<div${isFirst ? ' class="first"' : ''}><dt>${label}</dt><dd>${amount}</dd>${remark === '' ? '' : `<dd class="remark">${remark}</dd>`}</div>`
}

function contentSums({ content }: Report): string {
  if (content === null) return ''
  const interval =
    content.sampleShare < 1
      ? ` (${formatBytes(content.lowBytes)} to ${formatBytes(content.highBytes)} with ${formatShare(content.confidence)} confidence)`
      : ''
  return `<p>Of ${formatBytes(content.readBytes)} compared, ${formatBytes(content.equalBytes)}${interval} are equal to other bytes but stored again; ${formatBytes(content.zeroBytes)} are stored zeros.</p>`
}

interface MapView {
  id: string
  caption: string
  nothing: string
  tiles: Tile[]
}

function mapOf({ id, caption, nothing, tiles }: MapView, isHidden: boolean): string {
  const content =
    tiles.length === 0
      ? `<p class="nothing">${nothing}</p>`
      : `<nav aria-label="Place in the map"></nav><div class="map">${tiles.map(tileHtml).join('')}</div><p class="caption">${caption} Click a directory in which there are others to look into it.</p>`
  return `<div class="view" id="${id}"${isHidden ? ' hidden' : ''}>${content}</div>`
}

function tileHtml(tile: Tile): string {
  const share = tile.area === 0 ? 0 : tile.surplus / tile.area
  const percent = Math.round(share * 100)
  const what = tile.isRest ? 'files in' : 'directory'
  const path = printableName(tile.path)
  const title = `${what} ${path}\n${formatBytes(tile.area)}, of which ${formatBytes(tile.surplus)} (${percent}%) are copies`
  const place = [tile.left, tile.top, tile.width, tile.height].map((value) => value.toFixed(3))
  const classes = ['tile', ...(percent > 80 ? ['strong'] : []), ...(tile.isRest ? ['rest'] : [])]
  const style = `left:${place[0]}%;top:${place[1]}%;width:${place[2]}%;height:${place[3]}%;--share:${percent}%`
  // Its place again as data: the script computes with it.
  return (
    `<div class="${classes.join(' ')}" style="${style}" data-place="${place.join(' ')}" data-depth="${tile.depth}" ` +
    `data-path="${escapeHtml(path)}" title="${escapeHtml(title)}"${tile.isParent ? ' tabindex="0" role="button"' : ''}>` +
    `<b>${escapeHtml(printableName(tile.name))}</b> <span>${formatBytes(tile.area)}${percent > 0 ? ` · ${percent}%` : ''}</span></div>`
  )
}

type ExtraColumn<Row> = [heading: string, cell: (row: Row) => string]

function table<Row extends Figures>(
  title: string,
  rows: Row[],
  nameOf: (row: Row) => string,
  extra: ExtraColumn<Row>[],
): string {
  if (rows.length === 0) return ''
  const headings = ['Cached', 'Duplicate', 'If all read', ...extra.map(([heading]) => heading)]
  const body = rows.map((row) => {
    const share = row.cachedBytes === 0 ? 0 : Math.round((row.duplicateBytes / row.cachedBytes) * 100)
    const cells = [
      formatBytes(row.cachedBytes),
      `${formatBytes(row.duplicateBytes)} <i class="bar" style="--share:${share}%" title="${share}% of what is cached"></i>`,
      formatBytes(row.potentialBytes),
      ...extra.map(([, cell]) => cell(row)),
    ]
    const name = escapeHtml(printableName(nameOf(row)))
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}<th scope="row">${name}</th></tr>`
  })
  return `<section>
<h2>${title}</h2>
<div class="scroll"><table>
<thead><tr>${headings.map((heading) => `<th>${heading}</th>`).join('')}<th class="name">Path</th></tr></thead>
<tbody>
${body.join('\n')}
</tbody>
</table></div>
</section>`
}

function notes({ notes: sentences, unreadable }: Report): string {
  const items = sentences.map((sentence) => `<li>${escapeHtml(sentence)}</li>`)
  const paths = unreadable.paths.map(
    ({ path, error }) => `<li>${escapeHtml(printableName(path))}: ${escapeHtml(error)}</li>`,
  )
  const list =
    paths.length === 0
      ? ''
      : `<details><summary>Paths that could not be read</summary><ul>${paths.join('')}</ul></details>`
  return items.length === 0 ? '' : `<section><h2>Notes</h2><ul>${items.join('')}</ul>${list}</section>`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
