/** A report as CSV (RFC 4180), one row each for the whole, each directory, group and file; bytes as whole numbers. */
import type { Figures, Report } from './report.ts'

const COLUMNS = [
  'kind',
  'path',
  'files',
  'pieces',
  'size_bytes',
  'allocated_bytes',
  'shared_bytes',
  'cached_bytes',
  'duplicate_bytes',
  'potential_bytes',
  'reread_bytes',
] as const

export function toCsv(report: Report): string {
  const rows: (string | number)[][] = [
    [...COLUMNS],
    row('total', '', report.totals.files, '', report.totals),
    ...report.directories.map((directory) => row('directory', directory.path, directory.files, '', directory)),
    ...report.groups.map((group) => row('group', group.path, group.files, '', group)),
    ...report.files.map((file) => row('file', file.path, 1, file.pieces, file)),
    ...report.divided.map((file) => row('divided', file.path, 1, file.pieces, file)),
  ]
  return rows.map((cells) => `${cells.map(toCell).join(',')}\r\n`).join('')
}

function row(
  kind: string,
  path: string,
  files: number | string,
  pieces: number | string,
  figures: Figures,
): (string | number)[] {
  return [
    ...[kind, path, files, pieces, figures.sizeBytes, figures.allocatedBytes, figures.sharedBytes],
    ...[figures.cachedBytes, figures.duplicateBytes, figures.potentialBytes, figures.rereadBytes],
  ]
}

function toCell(value: string | number): string {
  const text = String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
