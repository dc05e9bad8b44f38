/** A report for people: the sums, then a table each for directories, groups, files, and the most divided files. */
import { stripVTControlCharacters, styleText } from 'node:util'
import type { ContentReport } from '../inspect/content.ts'
import { printableName } from '../inspect/names.ts'
import { type FileRow, groupName, type Report, shownSums } from '../inspect/report.ts'
import { countOf, formatBytes, formatCount, formatSeconds, formatShare } from '../util/human.ts'

interface TextOptions {
  /** Use colours. */
  color: boolean
  /** Columns of the terminal: sentences are broken there. Infinity: not at all. */
  width: number
}

type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'green' | 'cyan'
type Paint = (style: Style, text: string) => string

/** Unreadable paths that are named. */
const UNREADABLE_SHOWN = 5

export function toText(report: Report, { color, width }: TextOptions): string {
  const paint: Paint = color ? (style, text) => styleText(style, text) : (_, text) => text
  const sections = [
    header(report, paint),
    sums(report, paint),
    ...(report.content === null ? [] : [contentSums(report.content, paint)]),
    directoryTable(report, paint),
    groupTable(report, paint),
    fileTable(report, paint),
    dividedTable(report, paint),
    notes(report, width, paint),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function header({ paths, totals, filesystems, walkSeconds, sweepSeconds }: Report, paint: Paint): string {
  const seconds = walkSeconds + sweepSeconds
  const kinds = [...new Set(filesystems.map(({ kind }) => kind))].join(', ')
  const parts = [
    `${countOf(totals.files, 'file')} in ${countOf(totals.directories, 'directory', 'directories')}`,
    ...(kinds === '' ? [] : [kinds]),
    // Of a short walk the rate says nothing.
    seconds < 1 || totals.files < 1000
      ? formatSeconds(seconds)
      : `${formatSeconds(seconds)}, ${formatCount(totals.files / seconds)} files/s`,
  ]
  return `${paint('bold', paths.map(printableName).join(' '))}\n${paint('dim', parts.join(' · '))}`
}

/** Rows of "what, how much, remark", the amounts aligned. */
function aligned(rows: [label: string, amount: string, remark: string, style?: Style][], paint: Paint): string {
  const labelWidth = Math.max(...rows.map(([label]) => label.length))
  const amountWidth = Math.max(...rows.map(([, amount]) => amount.length))
  return rows
    .map(([label, amount, remark, style]) => {
      const shown = amount.padStart(amountWidth)
      const line = `${label.padEnd(labelWidth)}   ${style === undefined ? shown : paint(style, shown)}`
      return remark === '' ? line : `${line}   ${paint('dim', remark)}`
    })
    .join('\n')
}

function sums(report: Report, paint: Paint): string {
  const { totals, unknown } = report
  const { cachedBytes, duplicateBytes, diskBytes, allocatedBytes } = totals
  const duplicateShare = cachedBytes === 0 ? 0 : duplicateBytes / cachedBytes
  const shown = shownSums(report)
  const noSharing = unknown.sharingFiles === 0 ? 'no file shares storage with another' : ''
  return aligned(
    [
      ['On disk', shown.disk, allocatedBytes === diskBytes ? '' : `${formatBytes(allocatedBytes)} for du`],
      [
        'Shared by clones',
        shown.shared,
        totals.sharingFiles === 0
          ? noSharing
          : `${countOf(totals.sharingFiles, 'file')} in ${countOf(totals.groups, 'group')}`,
      ],
      ['Cached now', shown.cached, ''],
      [
        'Cached more than once now',
        shown.duplicate,
        duplicateBytes === 0
          ? ''
          : `${formatShare(duplicateShare)} of what is cached: copies of ${formatBytes(totals.cachedAgainBytes)}`,
        colorOfShare(duplicateShare),
      ],
      ['If all were read', shown.potential, totals.potentialBytes === 0 ? '' : 'would be copies'],
      [
        'Read more than once',
        shown.reread,
        totals.rereadBytes === 0 ? '' : 'from the device, as far as the kernel remembers',
      ],
    ],
    paint,
  )
}

function contentSums(content: ContentReport, paint: Paint): string {
  const isSample = content.sampleShare < 1
  const interval = `${formatBytes(content.lowBytes)} to ${formatBytes(content.highBytes)} with ${formatShare(content.confidence)} confidence`
  const rate = `${formatBytes(content.readBytes / Math.max(content.seconds, 1e-3))}/s`
  const failed = content.failedFiles === 0 ? '' : `, ${countOf(content.failedFiles, 'file')} failed`
  return aligned(
    [
      ['Content compared', formatBytes(content.readBytes), `in ${formatSeconds(content.seconds)}, ${rate}${failed}`],
      [
        isSample ? 'Equal, stored again (estimate)' : 'Equal, but stored again',
        formatBytes(content.equalBytes),
        isSample
          ? `${interval}; ${formatShare(content.sampleShare)} of contents sampled`
          : 'could be shared by deduplication',
      ],
      ['Stored zeros', formatBytes(content.zeroBytes), content.zeroBytes === 0 ? '' : 'could be holes'],
    ],
    paint,
  )
}

function colorOfShare(share: number): Style {
  return share >= 0.5 ? 'red' : share >= 0.1 ? 'yellow' : 'green'
}

type Column = [heading: string, align: 'left' | 'right']

/** A table without lines; an empty string if there is nothing to show. Only the last column may have characters of other widths. There may be very many rows. */
function table(title: string, columns: Column[], rows: string[][], paint: Paint): string {
  if (rows.length === 0) return ''
  const all = [columns.map(([heading]) => paint('dim', heading)), ...rows]
  const widths = columns.map((_, i) => all.reduce((most, row) => Math.max(most, widthOf(row[i]!)), 0))
  const lines = all.map((row) => {
    const cells = row.map((cell, i) => {
      const space = ' '.repeat(widths[i]! - widthOf(cell))
      return columns[i]![1] === 'right' ? space + cell : cell + space
    })
    return cells.join('  ').trimEnd()
  })
  return [paint('bold', title), ...lines].join('\n')
}

function widthOf(cell: string): number {
  return stripVTControlCharacters(cell).length
}

function share(part: number, whole: number, paint: Paint): string {
  if (whole === 0) return paint('dim', '-')
  return paint(colorOfShare(part / whole), formatShare(part / whole))
}

function directoryTable({ directories }: Report, paint: Paint): string {
  const columns: Column[] = [
    ['CACHED', 'right'],
    ['DUPLICATE', 'right'],
    ['', 'right'],
    ['IF ALL READ', 'right'],
    ['FILES', 'right'],
    ['DIRECTORY', 'left'],
  ]
  const rows = directories.map((row) => [
    formatBytes(row.cachedBytes),
    formatBytes(row.duplicateBytes),
    share(row.duplicateBytes, row.cachedBytes, paint),
    formatBytes(row.potentialBytes),
    formatCount(row.files),
    printableName(row.path),
  ])
  return table('By directory', columns, rows, paint)
}

function groupTable({ groups, totals }: Report, paint: Paint): string {
  const columns: Column[] = [
    ['CACHED', 'right'],
    ['DUPLICATE', 'right'],
    ['', 'right'],
    ['IF ALL READ', 'right'],
    ['FILES', 'right'],
    ['SHARED', 'right'],
    ['GROUP', 'left'],
  ]
  const rows = groups.map((row) => [
    formatBytes(row.cachedBytes),
    formatBytes(row.duplicateBytes),
    share(row.duplicateBytes, row.cachedBytes, paint),
    formatBytes(row.potentialBytes),
    formatCount(row.files),
    formatBytes(row.sharedBytes),
    groupName(row),
  ])
  return table(titleOf('By group of clones', groups.length, totals.groups), columns, rows, paint)
}

function fileTable({ files, totals }: Report, paint: Paint): string {
  const columns: Column[] = [
    ['CACHED', 'right'],
    ['DUPLICATE', 'right'],
    ['', 'right'],
    ['IF ALL READ', 'right'],
    ['SHARED', 'right'],
    ['SIZE', 'right'],
    ['FILE', 'left'],
  ]
  const rows = files.map((row) => [
    formatBytes(row.cachedBytes),
    formatBytes(row.duplicateBytes),
    share(row.duplicateBytes, row.cachedBytes, paint),
    formatBytes(row.potentialBytes),
    formatBytes(row.sharedBytes),
    formatBytes(row.sizeBytes),
    printableName(row.path),
  ])
  return table(titleOf('By file', files.length, totals.sharingFiles), columns, rows, paint)
}

function dividedTable({ divided }: Report, paint: Paint): string {
  const columns: Column[] = [
    ['PIECES', 'right'],
    ['SHARED', 'right'],
    ['OWN', 'right'],
    ['FILE', 'left'],
  ]
  const rows = divided.map((row: FileRow) => [
    formatCount(row.pieces),
    formatBytes(row.sharedBytes),
    formatBytes(Math.max(0, row.allocatedBytes - row.sharedBytes)),
    printableName(row.path),
  ])
  return table('Most divided files', columns, rows, paint)
}

function titleOf(title: string, shown: number, all: number): string {
  return shown < all ? `${title} (${formatCount(shown)} of ${formatCount(all)})` : title
}

function notes({ notes: sentences, unreadable }: Report, width: number, paint: Paint): string {
  const indent = '      '
  const lines = sentences.map(
    (sentence) => `${paint('yellow', 'note')}  ${broken(sentence, width - indent.length).join(`\n${indent}`)}`,
  )
  for (const { path, error } of unreadable.paths.slice(0, UNREADABLE_SHOWN)) {
    lines.push(paint('dim', `${indent}${printableName(path)}: ${error}`))
  }
  if (unreadable.count > UNREADABLE_SHOWN) {
    lines.push(
      paint('dim', `${indent}and ${formatCount(unreadable.count - UNREADABLE_SHOWN)} more (--json lists them)`),
    )
  }
  return lines.join('\n')
}

/** A sentence in lines of at most `width` characters, as far as its words allow. */
export function broken(sentence: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of sentence.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
