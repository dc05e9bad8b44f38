/** When two outcomes are the same, and two trees. */
import { ANY, ANY_SUCCESS, type Outcome } from './program.ts'

/**
 * Which period of a run a time belongs to. Nobody does anything around the boundary between two periods, so both trees
 * agree on it, although they do everything a little apart and the kernel's clock for files is a coarse one.
 */
export class Periods {
  readonly #boundaries: number[]

  /** `start` and all further times in seconds. */
  constructor(start: number) {
    this.#boundaries = [start]
  }

  begin(boundary: number): void {
    this.#boundaries.push(boundary)
  }

  /** Replaces times that the kernel took from its clock by their period; those that somebody set stay. */
  normalize(text: string): string {
    return text.replace(/@(\d+\.\d+)/g, (exact, seconds: string) => {
      const time = Number(seconds)
      const first = this.#boundaries[0]!
      if (time < first || time > first + 1e6) return exact
      return `period ${this.#boundaries.findLastIndex((boundary) => time >= boundary)}`
    })
  }
}

/** Without the times of regular files, which in some rounds nothing determines. */
export function withoutFileTimes(text: string): string {
  return text.replace(/(mode=10\d{4} .*?) mtime=(@\S+|period \d+) ctime=(@\S+|period \d+)/g, '$1')
}

/** Without the times of fifos: through FUSE the kernel does not stamp them. */
export function withoutFifoTimes(text: string): string {
  return text.replace(/(mode=1\d{4} .*?) atime=.*? ctime=(@\S+|period \d+)/g, '$1')
}

/** May the tree under test answer `got` where the twin says `wanted`? */
export function agrees(got: Outcome, wanted: Outcome, normalize: (text: string) => string): boolean {
  const answer = normalize(typeof got === 'string' ? got : got[0])
  if (typeof wanted === 'string') return answer === normalize(wanted)
  const [now, then] = wanted.map(normalize) as [string, string]
  if (then === ANY_SUCCESS) return !/^E[A-Z0-9]+$/.test(answer)
  return then === ANY || answer === now || answer === then || isMixture(answer, now, then)
}

/** Every page as it is now, or as it was when the file was opened? */
function isMixture(answer: string, now: string, then: string): boolean {
  const [size, pages] = parse(answer)
  const [sizeNow, pagesNow] = parse(now)
  const [sizeThen, pagesThen] = parse(then)
  if (size !== sizeNow && size !== sizeThen) return false
  return pages.every((page, i) => page === pagesNow[i] || page === pagesThen[i])
}

function parse(text: string): [size: string, pages: string[]] {
  const [size = '', pages = ''] = text.split(': ')
  return [size, pages.split(',')]
}

/** The lines in which two trees differ, as `- wanted` and `+ got`; at most `max` of them. */
export function difference(got: readonly string[], wanted: readonly string[], max = 12): string[] {
  const theirs = new Set(got)
  const ours = new Set(wanted)
  return [
    ...wanted.filter((line) => !theirs.has(line)).map((line) => `- ${line}`),
    ...got.filter((line) => !ours.has(line)).map((line) => `+ ${line}`),
  ].slice(0, max)
}
