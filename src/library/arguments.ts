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

/** Throws ERR_INVALID_ARG_TYPE unless the option is true, false, or not given. */
export function checkBoolean(name: string, value: boolean | undefined): void {
  if (value !== undefined && typeof value !== 'boolean')
    throw wrongType(`${name} is true or false, not ${typeOf(value)}`)
}

/** The same of what is to be called. */
export function checkFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw wrongType(`${name} is a function, not ${typeOf(value)}`)
}

/** Throws ERR_INVALID_ARG_TYPE unless it can be gone through. `what`: of what it is to be. */
export function checkIterable(what: string, value: Iterable<unknown>): void {
  if (typeof value?.[Symbol.iterator] !== 'function')
    throw wrongType(`${what} are in an array, not in ${typeOf(value)}`)
}

/** What is left of `size` bytes from `offset` on. Whoever gives something else than a number hears of it from {@link checkRange}, or {@link checkNumbers}. */
export function lengthFrom(size: number, offset: number): number {
  return typeof offset === 'number' ? size - offset : 0
}

/**
 * Throws ERR_OUT_OF_RANGE unless `length` bytes from `offset` on lie within a buffer of `size` bytes, and `position` is a place in a file; ERR_INVALID_ARG_TYPE where they are no numbers.
 */
export function checkRange(size: number, position: number, offset: number, length: number): void {
  checkPosition(position)
  // Before the length, which may be what is left behind it.
  if (!(offset >= 0 && offset <= size && Number.isInteger(offset))) {
    checkNumber('an offset', offset)
    throw outOfRange(`offset ${offset} is no place in a buffer of ${size} bytes`)
  }
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
  checkNumber('a position', position)
  throw outOfRange(`position ${position} is no place in a file`)
}

function checkLength(length: number): void {
  if (length >= 0 && Number.isSafeInteger(length)) return
  checkNumber('a length', length)
  throw outOfRange(`length ${length} is no number of bytes`)
}

/** Also bigints, which fs.read takes as a position, are none. */
function checkNumber(what: string, value: unknown): void {
  if (typeof value !== 'number') throw wrongType(`${what} is a number, not ${typeOf(value)}`)
}

/** Throws ERR_OUT_OF_RANGE unless the option is not given, or an integer from `least` on; ERR_INVALID_ARG_TYPE where it is a bigint. */
export function checkCount(name: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return
  if (typeof value === 'bigint') checkNumber(name, value)
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
  return wrongType(`bytes are in a Uint8Array, as a Buffer is, not in ${typeOf(given)}`)
}

function typeOf(given: unknown): string {
  if (given === null || given === undefined) return `${given}`
  return `a ${typeof given === 'object' ? given.constructor?.name : typeof given}`
}
