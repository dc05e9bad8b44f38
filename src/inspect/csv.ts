/**
 * A report as CSV (RFC 4180), one row each for the whole, each directory, group and file; bytes as whole numbers. Line by
 * line, for there may be millions.
 */
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
  'started_at',
] as const

/** `withHeading`: begin with the names of the columns. */
export function* toCsv(report: Report, withHeading: boolean): Generator<string> {
  if (withHeading) yield toLine([...COLUMNS])
  const { startedAt, totals } = report
  const line = (kind: string, path: string, files: number, pieces: number | '', figures: Figures): string =>
    toLine([
      ...[kind, path, files, pieces, figures.sizeBytes, figures.allocatedBytes, figures.sharedBytes],
      ...[figures.cachedBytes, figures.duplicateBytes, figures.potentialBytes, figures.rereadBytes, startedAt],
    ])
  yield line('total', '', totals.files, '', totals)
  for (const directory of report.directories) yield line('directory', directory.path, directory.files, '', directory)
  for (const group of report.groups) yield line('group', group.path, group.files, '', group)
  for (const file of report.files) yield line('file', file.path, 1, file.pieces, file)
  for (const file of report.divided) yield line('divided', file.path, 1, file.pieces, file)
}

function toLine(cells: (string | number)[]): string {
  return `${cells.map(toCell).join(',')}\r\n`
}

function toCell(value: string | number): string {
  const text = String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
