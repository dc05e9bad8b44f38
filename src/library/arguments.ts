/** Checks of what callers give. Nothing is allocated where it is right. */
import { types } from 'node:util'

/** Throws ERR_INVALID_ARG_TYPE unless `buffer` is a Uint8Array. To be called before anybody asks for its length. */
export function checkBytes(buffer: Uint8Array): void {
  // An array of other elements has another length in bytes, and copying to or from it would convert them. Another realm's Uint8Array is no instance of ours.
  if (!(buffer instanceof Uint8Array) && !types.isUint8Array(buffer)) throw notBytes(buffer)
}

/** Throws ERR_INVALID_ARG_TYPE unless they are an object. */
export function checkOptions(options: object): void {
  if (typeof options !== 'object' || options === null)
    throw wrongType(`options are an object, not ${options === null ? 'null' : typeof options}`)
}

/** Throws ERR_INVALID_ARG_TYPE unless it is an AbortSignal, or not given. As Node.js has it: also of another realm, and null is none. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined) return
  if (typeof signal !== 'object' || signal === null || typeof signal.throwIfAborted !== 'function')
    throw wrongType(`a signal is an AbortSignal, not ${signal === null ? 'null' : `a ${typeof signal}`}`)
}

/** Throws ERR_OUT_OF_RANGE unless `length` bytes from `offset` on lie within a buffer of `size` bytes, and `position` is a place in a file. */
export function checkRange(size: number, position: number, offset: number, length: number): void {
  checkPosition(position)
  // Before the length, which may be what is left behind it.
  if (!(offset >= 0 && offset <= size && Number.isInteger(offset)))
    throw outOfRange(`offset ${offset} is no place in a buffer of ${size} bytes`)
  checkLength(length)
  if (offset + length > size)
    throw outOfRange(`offset ${offset} and length ${length} do not lie within a buffer of ${size} bytes`)
}

/** The same of a position and a length alone. */
export function checkNumbers(position: number, length: number): void {
  checkPosition(position)
  checkLength(length)
}

function checkPosition(position: number): void {
  if (position >= 0 && Number.isSafeInteger(position)) return
  checkNoBigInt('a position', position)
  throw outOfRange(`position ${position} is no place in a file`)
}

function checkLength(length: number): void {
  if (length >= 0 && Number.isSafeInteger(length)) return
  checkNoBigInt('a length', length)
  throw outOfRange(`length ${length} is no number of bytes`)
}

/** What fs.read takes as a position. */
function checkNoBigInt(what: string, value: unknown): void {
  if (typeof value === 'bigint') throw wrongType(`${what} is a number, not the bigint ${value}n`)
}

/** Throws ERR_OUT_OF_RANGE unless the option is not given, or an integer from `least` on. */
export function checkCount(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
    throw outOfRange(`${name}: ${value} is no integer from ${least} on`)
}

/** Throws ERR_OUT_OF_RANGE unless the option is not given, or 0 or more; Infinity is, too. */
export function checkAmount(name: string, value: number | undefined): void {
  if (value !== undefined) checkAmountGiven(name, value)
}

/** The same of what has to be given. */
export function checkAmountGiven(name: string, value: number): void {
  if (!(typeof value === 'number' && value >= 0)) throw outOfRange(`${name}: ${value} is no number from 0 on`)
}

export function outOfRange(message: string): RangeError {
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' })
}

/** What is none of the values that there are. */
export function wrongValue(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' })
}

/** What is of another type. */
export function wrongType(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' })
}

function notBytes(given: unknown): TypeError {
  const what =
    given === null ? 'null' : typeof given === 'object' ? `a ${given.constructor?.name}` : `a ${typeof given}`
  return wrongType(`bytes are in a Uint8Array, as a Buffer is, not in ${what}`)
}
