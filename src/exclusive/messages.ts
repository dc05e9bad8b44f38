/**
 * What a client and a mount tell each other about grants: lines of JSON over a Unix socket. The bytes of a grant never travel: the line that
 * gives one carries a descriptor of the memory that holds them, of exactly its size.
 *
 * Who may is found out by the kernel: the client opens the file through the mount for reading and writing, and shows that open file by an
 * ioctl(2) on it, which carries the key that the mount has given this connection. Nobody else can make that call. A cache that only wants to be told may
 * have it open in any way.
 *
 * ```
 * client                              mount
 *                                     hello { key }
 *   ioctl(fd, SHOW_FILE, key)
 *   want { id, range, … }             granted { id, start, length } + memory   or   refused { id, code, message }
 *   publish { id, sync }              ended { id, code?, message? }
 *   abandon { id }                    ended { id }
 *   revoke { id, range, deadlineMs }  ended { id, taken }
 *                                     revoking { id, deadlineMs }: somebody asks for it back
 *                                     taken { id }: the deadline is over, what was written to the memory is worth nothing
 * closing the connection abandons all that it holds, and takes back all that it waits for
 * ```
 * A client that caches what it reads (an attached cache of the library) gives up what others are granted, before they are:
 * ```
 * client                              mount
 *   ioctl(fd, SHOW_FILE, key)
 *   attend { id }                     recall … for what is granted already, then attended { id }: it may open the file, and cache it; once, until it leaves
 *                                     recall { id, turn, file, start, end, readers }: a range of file `file` (the id of its attend) is about to be granted
 *   recalled { id, turn }: nobody reads or changes the range through this cache any more; with readers `last-published` nobody changes it
 *                                     recall { id, … readers: wait }: it is about to be published; recall { … last-published }: it was not
 *                                     restore { id }: the grant has ended
 *   leave { id }: it has the file open no more
 * ```
 * What is not answered within {@link RECALL_MS} is not granted.
 */
/** Bytes of a connection's key. */
export const KEY_BYTES = 16

/** So long a mount waits for caches to give up a range. */
export const RECALL_MS = 10_000

/** Bytes [start, end) of a file; an `end` of null: up to its end. */
export interface Range {
  readonly start: number
  readonly end: number | null
}

/** Whether readers of a range wait, too, or take what was published last. */
type Readers = 'wait' | 'last-published'

export type ToMount =
  | {
      readonly type: 'want'
      readonly id: number
      readonly range: Range
      readonly readers: Readers
      /** Who of the client wants it, for finding deadlocks: a name of its own choosing. Undefined: the client is one. */
      readonly holder?: string
      readonly wait: boolean
      /** null: no limit. */
      readonly timeoutMs: number | null
    }
  | { readonly type: 'publish'; readonly id: number; readonly sync: boolean }
  | { readonly type: 'abandon'; readonly id: number }
  | { readonly type: 'revoke'; readonly id: number; readonly range: Range; readonly deadlineMs: number }
  | { readonly type: 'attend'; readonly id: number }
  | { readonly type: 'leave'; readonly id: number }
  | { readonly type: 'recalled'; readonly id: number; readonly turn: number }

/** Errors of grants, by name as in errno(3). */
type GrantCode = string

export type FromMount =
  | { readonly type: 'hello'; readonly key: string }
  | { readonly type: 'granted'; readonly id: number; readonly start: number; readonly length: number }
  | { readonly type: 'refused'; readonly id: number; readonly code: GrantCode; readonly message: string }
  | {
      readonly type: 'ended'
      readonly id: number
      readonly code?: GrantCode
      readonly message?: string
      /** Of a revoke: how many grants have ended, and how many of them had to be taken, because their holders did not give them up. */
      readonly asked?: number
      readonly taken?: number
    }
  | { readonly type: 'revoking'; readonly id: number; readonly deadlineMs: number }
  | { readonly type: 'taken'; readonly id: number }
  | { readonly type: 'attended'; readonly id: number }
  | RecallMessage
  | { readonly type: 'restore'; readonly id: number }

/** Bytes [start, end) of the file that was attended to as `file`. */
export interface RecallMessage {
  readonly type: 'recall'
  readonly id: number
  /** Which question about this range it is: the answer repeats it. */
  readonly turn: number
  readonly file: number
  readonly start: number
  readonly end: number
  readonly readers: Readers
}

/** Longer lines are nobody's who means well. */
const LINE_BYTES_MAX = 4096

/** Cuts what arrives into lines. */
export class Lines {
  #rest = ''

  /** The lines that `text` completes; undefined where one is too long. */
  take(text: string): string[] | undefined {
    const parts = (this.#rest + text).split('\n')
    this.#rest = parts.pop()!
    return this.#rest.length > LINE_BYTES_MAX ? undefined : parts
  }
}

/** Asks for something, with a number that is none of the protocol's: not whole, below 0, or too large. */
interface WrongNumber {
  readonly type: 'wrong number'
  readonly id: number
}

/** What a line says to a mount; undefined where it is none of the protocol's. */
export function parseToMount(line: string): ToMount | WrongNumber | undefined {
  let said: Partial<Record<string, unknown>>
  try {
    said = JSON.parse(line)
  } catch {
    return undefined
  }
  if (typeof said !== 'object' || said === null || !isCount(said.id)) return undefined
  const { id } = said
  const ifCounts = (...numbers: readonly (number | null)[]): ToMount | WrongNumber =>
    numbers.every((it) => it === null || isCount(it)) ? (said as ToMount) : { type: 'wrong number', id }
  switch (said.type) {
    case 'want':
      return isRange(said.range) &&
        (said.readers === 'wait' || said.readers === 'last-published') &&
        typeof said.wait === 'boolean' &&
        (said.holder === undefined || typeof said.holder === 'string') &&
        (said.timeoutMs === null || typeof said.timeoutMs === 'number')
        ? ifCounts(said.range.start, said.range.end, said.timeoutMs)
        : undefined
    case 'publish':
      return typeof said.sync === 'boolean' ? (said as ToMount) : undefined
    case 'abandon':
    case 'attend':
    case 'leave':
      return said as ToMount
    case 'recalled':
      return isCount(said.turn) ? (said as ToMount) : undefined
    case 'revoke':
      return isRange(said.range) && typeof said.deadlineMs === 'number'
        ? ifCounts(said.range.start, said.range.end, said.deadlineMs)
        : undefined
    default:
      return undefined
  }
}

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

function isRange(value: unknown): value is Range {
  const range = value as Range | null
  return (
    typeof range === 'object' &&
    range !== null &&
    typeof range.start === 'number' &&
    (range.end === null || typeof range.end === 'number')
  )
}
