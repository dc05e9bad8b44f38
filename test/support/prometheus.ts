/**
 * Reads what a Prometheus endpoint answers, strictly: https://prometheus.io/docs/instrumenting/exposition_formats. Throws at
 * the first line that is not of the text format, at a sample whose metric was not announced, and at one that comes twice.
 */
export interface Family {
  readonly help: string
  readonly type: string
  readonly samples: ReadonlyMap<string, number>
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*'
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"'
const SAMPLE = new RegExp(
  `^(${NAME})(\\{${LABEL}(?:,${LABEL})*\\})? (NaN|[+-]?Inf|[+-]?\\d+(?:\\.\\d+)?(?:e[+-]?\\d+)?)$`,
)

export function parsePrometheus(text: string): Map<string, Family> {
  const families = new Map<string, { help: string; type: string; samples: Map<string, number> }>()
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  for (const line of text.split('\n')) {
    if (line === '') continue
    const help = new RegExp(`^# HELP (${NAME}) (.*)$`).exec(line)
    const type = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram|summary|untyped)$`).exec(line)
    const sample = SAMPLE.exec(line)
    if (help !== null) {
      if (families.has(help[1]!)) throw new Error(`twice: ${line}`)
      families.set(help[1]!, { help: help[2]!, type: '', samples: new Map() })
    } else if (type !== null) {
      const family = families.get(type[1]!)
      if (family === undefined || family.type !== '') throw new Error(`no help, or twice: ${line}`)
      family.type = type[2]!
    } else if (sample !== null) {
      const family = families.get(sample[1]!)
      if (family === undefined || family.type === '') throw new Error(`not announced: ${line}`)
      const labels = sample[2] ?? ''
      if (family.samples.has(labels)) throw new Error(`twice: ${line}`)
      family.samples.set(labels, Number(sample[3]!.replace('Inf', 'Infinity')))
    } else if (!line.startsWith('# ')) {
      throw new Error(`not of the format: ${line}`)
    }
  }
  return families
}
