/** What docs/OPERATIONS.md says that a mount tells about itself, read out of its tables. */

/** A metric as one line that can be compared: `gauge samepage_files{served=mapped|private}`. */
export function metricLine(type: string, name: string, labels: Readonly<Record<string, readonly string[]>>): string {
  const inner = Object.entries(labels).map(([label, values]) => `${label}=${[...values].sort().join('|')}`)
  return `${type} ${name}${inner.length === 0 ? '' : `{${inner.join(',')}}`}`
}

/**
 * The metrics of the table below the heading `Metrics`, each by its full name. Of a label whose values are given (`{from="a\|b"}`) they are, of another
 * (`{node}`) they are left open.
 */
export function metricsDocumented(document: string): string[] {
  return rowsBelow(document, 'Metrics').flatMap(([names, type]) =>
    spans(names!).map((span) => {
      const [, name, inner] = /^(\w+)(?:\{(.*)\})?$/.exec(span) ?? []
      if (name === undefined) throw new Error(`no metric: ${span}`)
      const [, label, values] = /^(\w+)(?:="([\w\\|]+)")?$/.exec(inner ?? '') ?? []
      if (inner !== undefined && label === undefined) throw new Error(`no label: ${span}`)
      return metricLine(type!, name, label === undefined ? {} : { [label]: values?.split('\\|') ?? [] })
    }),
  )
}

/**
 * Paths of the fields in the table below the heading `status --json`, such as `homes.inUse`. A name that begins with a dot goes on where the last one without did. The
 * fields of an object stand one by one, or in a shape, `{ a, b: [{ c }…], d? }`, with which the meaning begins.
 */
export function fieldsDocumented(document: string): string[] {
  return rowsBelow(document, 'status --json, schema 1').flatMap(([names, meaning]) => {
    let object = ''
    const paths = spans(names!).map((span) => {
      const path = span.startsWith('.') ? object + span : span.replace('[]', '')
      object = path.slice(0, Math.max(path.lastIndexOf('.'), 0))
      return path
    })
    const shape = /^`(\{.*?\})`/.exec(meaning!)?.[1]
    return shape === undefined ? paths : shapeFields(shape).map((field) => `${paths.join()}.${field}`)
  })
}

/** `{ a, b: [{ c, d }…] }` → a, b.c, b.d */
function shapeFields(shape: string): string[] {
  const fields: string[] = []
  const objects: string[] = []
  let last = ''
  for (const [token] of shape.matchAll(/\w+|[{}]/g)) {
    if (token === '{') {
      // What has fields of its own is none itself.
      if (objects.push(last) > 1) fields.pop()
    } else if (token === '}') objects.pop()
    else {
      last = token
      fields.push([...objects.slice(1), token].join('.'))
    }
  }
  return fields
}

/** Cells of the first table below a heading, without the lines that head it. */
function rowsBelow(document: string, heading: string): string[][] {
  const lines = document.split('\n')
  const at = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === heading)
  if (at < 0) throw new Error(`no heading ${heading}`)
  const first = lines.findIndex((line, i) => i > at && line.startsWith('|'))
  const rows: string[][] = []
  for (let i = first; lines[i]?.startsWith('|'); i++)
    rows.push(
      lines[i]!.slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    )
  return rows.slice(2)
}

/** What stands in backticks. */
function spans(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, span]) => span!)
}
