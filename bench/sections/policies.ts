/**
 * How often the cache's reclaim policy misses, beside those of the literature, on real traces and made-up ones. Exact: nothing is timed, and it is the
 * same on every machine. bench/traces/README.md says what the traces are, and how to take others.
 */
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { arc } from '../../src/sim/policies/arc.ts'
import { lirs } from '../../src/sim/policies/lirs.ts'
import { lru } from '../../src/sim/policies/lru.ts'
import { countOptMisses } from '../../src/sim/policies/opt.ts'
import { countMisses } from '../../src/sim/policies/policy.ts'
import { reuseClock } from '../../src/sim/policies/reclaim.ts'
import { s3Fifo } from '../../src/sim/policies/s3-fifo.ts'
import { twoQueue } from '../../src/sim/policies/two-queue.ts'
import { readTrace } from '../../src/sim/traces/formats.ts'
import { SYNTHETIC } from '../../src/sim/traces/synthetic.ts'
import type { Trace } from '../../src/sim/traces/trace.ts'
import { add, type Bench, load, type Section } from '../bench.ts'
import { UNIT } from '../figure.ts'

/** This file runs as build/bench/sections/policies.js. */
const TRACES = fileURLToPath(new URL('../../../bench/traces', import.meta.url))
const RIVALS = [lru, arc, twoQueue, s3Fifo, lirs]
/** Frames, as a share of the pages that a trace asks for. */
const SHARES = [0.01, 0.05, 0.1, 0.25, 0.5]
/** A cache of a few pages is nobody's. */
const FRAMES_MIN = 10
/** Points of miss ratio that the policy may be behind the best of the others. */
const BEHIND_MAX = 1

export const policies: Section = {
  name: 'policies',
  title: 'Miss ratios of reclaim policies in %; Samepage: points behind the best of LRU, ARC, 2Q, S3-FIFO and LIRS',
  async run(bench) {
    for (const trace of tracesFor(bench)) {
      const counts = SHARES.map((share) => Math.max(FRAMES_MIN, Math.round(share * trace.pages)))
      for (const frames of new Set(counts)) compareAt(bench, trace, frames)
    }
  },
}

function* tracesFor({ traces, quick }: Bench): Iterable<Trace> {
  if (traces.length > 0) for (const file of traces) yield readTraceFile(file)
  else {
    const names = fs.readdirSync(TRACES).filter((name) => name.endsWith('.br'))
    for (const name of quick ? names.slice(0, 2) : names) yield readTraceFile(path.join(TRACES, name))
    for (const make of quick ? SYNTHETIC.slice(0, 2) : SYNTHETIC) yield make()
  }
}

function readTraceFile(file: string): Trace {
  const bytes = fs.readFileSync(file)
  const [, name = '', compression] = /^(.*?)(\.br|\.gz)?$/.exec(path.basename(file)) ?? []
  const text = compression === '.br' ? brotliDecompressSync(bytes) : compression === '.gz' ? gunzipSync(bytes) : bytes
  return readTrace(name, text.toString())
}

function compareAt(bench: Bench, { name, accesses, pages }: Trace, frames: number): void {
  const before = load()
  const percent = (misses: number) => (100 * misses) / accesses.length
  const ratios = RIVALS.map((policy) => [policy.name, percent(countMisses(policy, accesses, pages, frames))] as const)
  const own = percent(countMisses(reuseClock, accesses, pages, frames))
  const best = Math.min(...ratios.map(([, ratio]) => ratio))
  add(bench, {
    name: `${name}, ${frames} of ${pages} pages`,
    unit: UNIT.POINTS,
    samples: { samepage: [own - best] },
    targets: [{ max: BEHIND_MAX }],
    processors: 'any',
    load: [before, load()],
    beside: {
      ...Object.fromEntries(ratios),
      OPT: percent(countOptMisses(accesses, pages, frames)),
      Samepage: own,
    },
  })
}
