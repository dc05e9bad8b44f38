/** A report as JSON, piece by piece: with every row of a million files it is longer than a string can be. */
import type { Report } from './report.ts'

/** What JSON.stringify(report, null, indent) would return, in pieces. */
export function* toJson(report: Report, indent: 0 | 2): Generator<string> {
  const [line, gap] = indent === 0 ? ['', ''] : ['\n', ' ']
  const margin = ' '.repeat(indent)
  const render = (value: unknown, depth: number) =>
    JSON.stringify(value, null, indent).replaceAll('\n', `\n${margin.repeat(depth)}`)
  yield '{'
  let separator = line
  for (const [name, value] of Object.entries(report)) {
    yield `${separator}${margin}${JSON.stringify(name)}:${gap}`
    separator = `,${line}`
    if (!Array.isArray(value) || value.length === 0) yield render(value, 1)
    else {
      yield '['
      for (const [at, row] of value.entries()) yield `${at === 0 ? '' : ','}${line}${margin}${margin}${render(row, 2)}`
      yield `${line}${margin}]`
    }
  }
  yield `${line}}`
}
