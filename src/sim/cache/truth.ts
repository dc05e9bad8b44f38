/**
 * What files hold, and have held: which bytes a read may return.
 *
 * Contents are numbers, *values*; one stands for the bytes of a page. No two pages ever have the same one, but for clones, 0: that page is zeros, and where pages are to have
 * equals. A *twin* of a value differs from it in one byte.
 */
import type { Random } from '../random.ts'

/** A value of a page, from one moment to another. */
interface Version {
  readonly value: number
  readonly from: number
  until: number
  /** All of it at once for readers. Of what is written otherwise they may get a part. */
  readonly isPublished: boolean
}

/** Bytes of a page that are simulated: its first and its last. */
export const SIMULATED_BYTES = [0, 1, 4094, 4095] as const

/** Values from here on are twins: that times the place of the byte that differs, counted from 1, plus a value. */
const TWINS = 2 ** 20

/** The byte at `offset` of a page of that value. */
export function byteOf(value: number, offset: number): number {
  if (value === 0) return 0
  const byte = (Math.imul((value % TWINS) * 4096 + offset + 1, 0x9e37_79b1) >>> 24) | 1
  return SIMULATED_BYTES[Math.floor(value / TWINS) - 1] === offset ? byte ^ 0x80 : byte
}

export class Truth {
  /** Moments: it goes on with everything that the keeper does. */
  now = 0
  #values = 0
  readonly #versions = new Map<string, Version[]>()

  freshValue(): number {
    return ++this.#values
  }

  /** A value that pages may have already, or a twin of one. */
  usedValue(random: Random): number {
    if (this.#values === 0) return this.freshValue()
    const value = random.between(Math.max(1, this.#values - 1), this.#values)
    return random.chance(0.2) ? value + random.between(1, SIMULATED_BYTES.length) * TWINS : value
  }

  /** The page holds another value from now on: who begins to read after this gets no older one. */
  change(file: string, page: number, value: number): void {
    const key = `${file}/${page}`
    const versions = this.#versions.get(key) ?? []
    const last = versions.at(-1)
    this.now++
    if (last !== undefined) last.until = this.now
    versions.push({ value, from: this.now, until: Number.POSITIVE_INFINITY, isPublished: false })
    this.#versions.set(key, versions)
  }

  /** The page gets another value, which readers may see from now on, and must after the function that is returned was called. */
  publish(file: string, page: number, value: number): () => void {
    const versions = this.#versions.get(`${file}/${page}`)!
    const last = versions.at(-1)!
    versions.push({ value, from: ++this.now, until: Number.POSITIVE_INFINITY, isPublished: true })
    return () => {
      last.until = Math.min(last.until, ++this.now)
    }
  }

  value(file: string, page: number): number {
    return this.#versions.get(`${file}/${page}`)!.at(-1)!.value
  }

  /** Throws where the halves of the page were not of values that it had between the moments, or are of two although nobody wrote it. */
  checkHalves(file: string, page: number, halves: readonly number[], begin: number, end: number): void {
    const versions = this.#versions.get(`${file}/${page}`) ?? []
    const current = versions.filter(({ from, until }) => from <= end && until > begin)
    const isMixed = current.some(({ from, isPublished }) => from > begin && !isPublished)
    const isRight = (half: number) => current.some(({ value }) => value === half)
    if (halves.every(isRight) && (isMixed || halves.every((half) => half === halves[0]))) return
    throw new Error(`${halves} was read past the cache from ${file}, page ${page}, from ${begin} to ${end}`)
  }

  /** Throws where those bytes from `offset` of the page on were never its own between the moments `begin` and `end`. */
  check(file: string, page: number, offset: number, bytes: ArrayLike<number>, begin: number, end: number): void {
    const versions = this.#versions.get(`${file}/${page}`) ?? []
    const fitting = versions.filter(({ value }) => isOf(value, offset, bytes))
    if (fitting.some(({ from, until }) => from <= end && until > begin)) return
    const read = Array.from(bytes).join(', ')
    const what = fitting.length > 0 ? 'were replaced before' : 'are of another page, or of several'
    throw new Error(
      `${read} was read from ${file}, page ${page}, at ${offset} from ${begin} to ${end}: these bytes ${what}`,
    )
  }
}

function isOf(value: number, offset: number, bytes: ArrayLike<number>): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== byteOf(value, offset + i)) return false
  return true
}
