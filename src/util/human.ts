/** Sizes, times and counts as people read and write them. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** Bytes for people: three significant digits at least, binary units. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1
  return `${value.toFixed(digits)} ${UNITS[unit]}`
}

/** Seconds for people. */
export function formatSeconds(seconds: number): string {
  if (seconds < 1e-3) return `${Math.round(seconds * 1e6)} µs`
  if (seconds < 1) return `${(seconds * 1e3).toFixed(1)} ms`
  if (seconds < 120) return `${seconds.toFixed(1)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return `${(seconds / 3600).toFixed(1)} h`
}

/** A count with its thousands apart: 1,234,567. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US')
}

/** So many of something: `1 file`, `2 files`. */
export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`
}

/** A share of 1 as a percentage: `94%`, `0.3%`. */
export function formatShare(share: number): string {
  const percent = share * 100
  return `${percent === 0 || percent >= 10 || percent < 0.05 ? Math.round(percent) : percent.toFixed(1)}%`
}

/** A size as users write it: `512MiB`, `64K`, `4096`. Returns bytes, or undefined. */
export function parseBytes(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)\s*$/i.exec(text)
  if (match === null) return undefined
  const power = 'kmgt'.indexOf(match[2]!.toLowerCase()) + 1
  return Math.round(Number(match[1]) * 1024 ** (match[2] === '' ? 0 : power))
}

const UNIT_SECONDS: Record<string, number> = { ms: 1e-3, s: 1, m: 60, min: 60, h: 3600 }

/** A time as users write it: `2s`, `500ms`, `1.5m`, `2` (seconds). Returns seconds, or undefined. */
export function parseSeconds(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?\s*$/.exec(text)
  return match === null ? undefined : Number(match[1]) * UNIT_SECONDS[match[2] ?? 's']!
}

/** A share as users write it: `5%` or `0.05`. Returns a number from 0 to 1, or undefined. */
export function parseShare(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(%?)\s*$/.exec(text)
  if (match === null) return undefined
  const share = Number(match[1]) / (match[2] === '%' ? 100 : 1)
  return share <= 1 ? share : undefined
}
