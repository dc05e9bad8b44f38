/**
 * docs/OPERATIONS.md names every metric and every field of `status --json`, and none that is not there.
 *
 * The metrics are those that the code registers, with the values of their labels as it sets them: prom-client is replaced by classes that note what is asked
 * of them. The fields are those of the type of the report; here the compiler holds the list.
 */
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import type { Status, StatusParts, StatusReport } from '../../../src/daemon/status.ts'
import { ROOT } from '../../support/sources.ts'
import { fieldsDocumented, metricLine, metricsDocumented } from './figures.ts'

const { registered } = vi.hoisted(() => ({ registered: [] as Registered[] }))

interface Configuration {
  readonly name: string
  readonly labelNames?: readonly string[]
  collect(this: unknown): void | Promise<void>
}

interface Registered {
  readonly type: string
  readonly configuration: Configuration
}

vi.mock('prom-client', () => {
  const noting = (type: string) =>
    class {
      constructor(configuration: Configuration) {
        registered.push({ type, configuration })
      }
    }
  return { Gauge: noting('gauge'), Counter: noting('counter'), Registry: class {} }
})

const DOCUMENT = fs.readFileSync(path.join(ROOT, 'docs/OPERATIONS.md'), 'utf8')

/** Stands for any part of a mount: whatever is asked of it is there, and is one. */
const ANYTHING: unknown = new Proxy(() => {}, {
  get: (_, name) => (name === Symbol.toPrimitive ? () => 1 : name === 'then' ? undefined : ANYTHING),
  apply: () => ANYTHING,
})

/** Labels that tell of the machine or of the protocol have values without end; the document leaves them open, too. */
const OPEN_LABELS = ['node', 'operation']

async function metricsRegistered(): Promise<string[]> {
  const { Metrics } = await import('../../../src/daemon/metrics.ts')
  registered.length = 0
  new Metrics(ANYTHING as Status, ANYTHING as StatusParts)
  return Promise.all(
    registered.map(async ({ type, configuration }) => {
      const { name, labelNames = [] } = configuration
      const values = new Map<string, Set<string>>(labelNames.map((label) => [label, new Set()]))
      const note = (labels: unknown) => {
        if (typeof labels !== 'object' || labels === null) return
        for (const [label, value] of Object.entries(labels as Record<string, string>)) values.get(label)!.add(value)
      }
      await configuration.collect.call({ set: note, inc: note, reset: () => {} })
      return metricLine(
        type,
        name,
        Object.fromEntries([...values].map(([label, seen]) => [label, OPEN_LABELS.includes(label) ? [] : [...seen]])),
      )
    }),
  )
}

/** Every field of an object, of those within it, and of what its lists hold; a record by number or by another type's words is one field. */
type Fields<T> = T extends readonly (infer Item)[]
  ? Fields<Item>
  : T extends object
    ? { readonly [Name in keyof T]-?: Fields<NonNullable<T[Name]>> }
    : true
type Record_ = 'by the words of another type'
type Shown = Omit<StatusReport, 'homes' | 'numa'> & {
  readonly homes: Omit<StatusReport['homes'], 'private'> & { readonly private: Record_ }
  readonly numa: Omit<NonNullable<StatusReport['numa']>, 'bytesByNode'> & { readonly bytesByNode: Record_ }
}

/** The compiler refuses a field too many and one too few. */
const FIELDS: Fields<Shown> = {
  schema: true,
  source: true,
  mountpoint: true,
  version: true,
  pid: true,
  uptimeSeconds: true,
  sharing: { possible: true, fileSystem: true, reason: true },
  passthrough: true,
  fuseMinor: true,
  homes: {
    homes: true,
    inUse: true,
    families: true,
    members: true,
    runBytes: true,
    homesMade: true,
    homesDropped: true,
    homesSuperseded: true,
    dropFailures: true,
    pristine: true,
    diverged: true,
    private: true,
    cachedBytes: true,
    nativeBytes: true,
    pinnedBytes: true,
  },
  files: { known: true, open: true, private: true, pristine: true, mapped: true, copied: true },
  bytesRead: { fromHomes: true, fromFiles: true, copied: true, fromArena: true },
  merge: {
    memoryMax: true,
    pageBytes: true,
    indexBytes: true,
    pagesShared: true,
    pagesSharing: true,
    pagesUnshared: true,
    pagesVolatile: true,
    pagesScanned: true,
    fullScans: true,
    timeMs: true,
    bytesSaved: true,
    files: true,
    bytesLoaded: true,
    evicted: true,
    refaults: true,
  },
  dax: {
    mode: true,
    homes: true,
    directPages: true,
    directHits: true,
    promotedBytes: true,
    promotions: true,
    demotions: true,
    memoryMax: true,
  },
  requests: { name: true, count: true, errors: true, meanSeconds: true, p50Seconds: true, p99Seconds: true },
  watch: { events: true, overflows: true, notices: true },
  numa: {
    mode: true,
    bytesByNode: true,
    nodesUnused: true,
    replicaBytes: true,
    replicasMade: true,
    replicasCollapsed: true,
    bytesReadFar: true,
  },
  near: { node: true, looked: true, elsewhere: true, moved: true, readAhead: true },
  grants: {
    held: { path: true, start: true, length: true, pid: true, uid: true, seconds: true },
    wanted: true,
    waiting: true,
    caches: true,
    granted: true,
    published: true,
    refused: true,
    taken: true,
  },
  memory: { residentBytes: true },
  workers: { count: true, restarts: true, failures: true },
}

function pathsOf(fields: object, prefix = ''): string[] {
  return Object.entries(fields).flatMap(([name, inner]) =>
    inner === true ? [prefix + name] : pathsOf(inner, `${prefix}${name}.`),
  )
}

test('the metrics that are documented are those that are registered', async () => {
  const metrics = await metricsRegistered()
  expect(metrics.length).toBeGreaterThan(30)
  expect(metricsDocumented(DOCUMENT).sort()).toEqual(metrics.sort())
})

test('the fields of status --json that are documented are those that it has', () => {
  expect(fieldsDocumented(DOCUMENT).sort()).toEqual(pathsOf(FIELDS).sort())
})

describe('the check itself', () => {
  const table = (heading: string, ...rows: string[]) =>
    ['# Other', '| `x` | y |', `### ${heading}`, '', '| Name | A | B |', '| --- | --- | --- |', ...rows, ''].join('\n')

  test('reads metrics with their labels', () => {
    const document = table(
      'Metrics',
      '| `samepage_a`, `samepage_b_total` | counter | two |',
      '| `samepage_c{served="x\\|y"}`, `samepage_d{node}` | gauge | `samepage_e` |',
    )
    expect(metricsDocumented(document)).toEqual([
      'counter samepage_a',
      'counter samepage_b_total',
      'gauge samepage_c{served=x|y}',
      'gauge samepage_d{node=}',
    ])
  })

  test.each(['| `_short` and {so on} `a b` | gauge | no name |', '| `samepage_a{x=1}` | gauge | no label |'])(
    'refuses %s',
    (row) => expect(() => metricsDocumented(table('Metrics', row))).toThrow(/no (metric|label)/),
  )

  test('reads fields, those of objects and those of shapes', () => {
    const document = table(
      'status --json, schema 1',
      '| `schema` | `{ no shape` |',
      '| `homes.homes`, `.inUse` | two |',
      '| `requests[]` | `{ name, count }` of each |',
      '| `grants` | `{ held: [{ path, pid }…], wanted, near: { node } }`: and `others` |',
    )
    expect(fieldsDocumented(document)).toEqual([
      'schema',
      'homes.homes',
      'homes.inUse',
      'requests.name',
      'requests.count',
      'grants.held.path',
      'grants.held.pid',
      'grants.wanted',
      'grants.near.node',
    ])
  })

  test('a table that is not there is an error', () => {
    expect(() => metricsDocumented('# Other\n')).toThrow('no heading Metrics')
  })
})
