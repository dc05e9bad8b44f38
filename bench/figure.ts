/** A figure: what was measured on each side, several times over, and what it was meant to reach. */
import { formatBytes, formatCount, formatSeconds } from '../src/util/human.ts'

/** What Samepage is compared with; in this order they are columns. */
export const OTHER_SIDES = [
  'native',
  'bindfs',
  'bindfs --multithreaded',
  'bindfs --enable-lock-forwarding',
  'Map.get',
  'one thread',
  'fs.readSync',
  'lru-cache',
  'one sharer',
  'KSM, default',
  'KSM, fastest',
  'duperemove',
  'another file',
  'passed through',
] as const

export type Side = 'samepage' | (typeof OTHER_SIDES)[number]

export interface Unit {
  /** For JSON. */
  readonly name: string
  readonly better: 'more' | 'less'
  readonly format: (value: number) => string
}

export const UNIT = {
  BYTES: { name: 'bytes', better: 'less', format: formatBytes },
  SAVED_BYTES: { name: 'bytes', better: 'more', format: formatBytes },
  SECONDS: { name: 'seconds', better: 'less', format: formatSeconds },
  BYTES_PER_SECOND: { name: 'bytes/s', better: 'more', format: (value) => `${(value / 1e9).toFixed(2)} GB/s` },
  PER_SECOND: { name: '1/s', better: 'more', format: (value) => `${formatCount(value)}/s` },
  TIMES: { name: 'times', better: 'less', format: (value) => `${value.toFixed(3)} x` },
  SHARE: { name: 'share', better: 'more', format: (value) => `${(value * 100).toFixed(1)}%` },
  NANOSECONDS: { name: 'ns', better: 'less', format: (value) => `${formatCount(value)} ns` },
  POINTS: { name: 'points', better: 'less', format: (value) => value.toFixed(1) },
  PAGES: { name: 'pages', better: 'less', format: (value) => `${formatCount(value)} pages` },
} as const satisfies Record<string, Unit>

export type Target =
  /** Samepage is to be at least `min` times as good as the other side. */
  | { readonly against: Exclude<Side, 'samepage'>; readonly min: number }
  /** Samepage's value is to be `max` at most. */
  | { readonly max: number }
  /** Samepage's value is to be `min` at least. */
  | { readonly min: number; readonly against?: never }

export interface Figure {
  readonly name: string
  readonly unit: Unit
  /** Values in the order of the repetitions. */
  readonly samples: Partial<Record<Side, readonly number[]>>
  readonly targets: readonly Target[]
  /** Which processors the client and the server could use. */
  readonly processors: string
  /** Load average over one minute, at the beginning and at the end. */
  readonly load: readonly [number, number]
  /** Numbers from which the figure was made: columns of their own. */
  readonly beside?: Readonly<Record<string, number>>
}

/** The value below which that share of the values lies. */
export function quantileOf(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (index: number): number => sorted[index] ?? Number.NaN
  const middle = sorted.length / 2
  const median = sorted.length % 2 === 1 ? at(Math.floor(middle)) : (at(middle - 1) + at(middle)) / 2
  return { median, min: at(0), max: at(sorted.length - 1) }
}

/** How many times as good Samepage was as `other`, in each repetition. */
export function ratiosTo(figure: Figure, other: Side): number[] {
  const { samepage = [] } = figure.samples
  const others = figure.samples[other] ?? []
  return samepage
    .slice(0, others.length)
    .map((value, i) => (figure.unit.better === 'more' ? value / others[i]! : others[i]! / value))
}

/** Whether the median reaches the target; undefined where the other side was not measured. */
export function reaches(figure: Figure, target: Target): boolean | undefined {
  const { samepage } = figure.samples
  if (samepage === undefined) return undefined
  if ('max' in target) return spreadOf(samepage).median <= target.max
  if (target.against === undefined) return spreadOf(samepage).median >= target.min
  return figure.samples[target.against] === undefined
    ? undefined
    : spreadOf(ratiosTo(figure, target.against)).median >= target.min
}

export function describeTarget(target: Target, unit: Unit): string {
  if ('max' in target) return `<= ${unit.format(target.max)}`
  return target.against === undefined ? `>= ${unit.format(target.min)}` : `>= ${target.min} x ${target.against}`
}

/** As it stands in the JSON file. */
export function toJson(figure: Figure): object {
  const sides = Object.keys(figure.samples) as Side[]
  const others = sides.filter((side) => side !== 'samepage')
  return {
    name: figure.name,
    unit: figure.unit.name,
    better: figure.unit.better,
    processors: figure.processors,
    load: figure.load,
    samples: figure.samples,
    ...(figure.beside && { beside: figure.beside }),
    spread: Object.fromEntries(sides.map((side) => [side, spreadOf(figure.samples[side] ?? [])])),
    timesAsGoodAs: Object.fromEntries(others.map((side) => [side, spreadOf(ratiosTo(figure, side))])),
    targets: figure.targets.map((target) => ({ ...target, reached: reaches(figure, target) ?? null })),
  }
}
