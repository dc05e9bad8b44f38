/** Checks of what callers give. Nothing is allocated where it is right. */
import { types } from 'node:util'

/** Throws ERR_INVALID_ARG_TYPE unless the buffer is a Uint8Array, and ERR_OUT_OF_RANGE unless `length` bytes from `offset` on lie within the buffer, and `position` is a place in a file. */
export function checkRange(buffer: Uint8Array, position: number, offset: number, length: number): void {
  // An array of other elements has another length in bytes, and copying to or from it would convert them. Another realm's Uint8Array is no instance of ours.
  if (!(buffer instanceof Uint8Array) && !types.isUint8Array(buffer)) throw notBytes(buffer)
  checkNumbers(position, length)
  if (!(offset >= 0 && Number.isInteger(offset) && offset + length <= buffer.length))
    throw outOfRange(`offset ${offset} and length ${length} do not lie within a buffer of ${buffer.length} bytes`)
}

/** The same of a position and a length alone. */
export function checkNumbers(position: number, length: number): void {
  if (!(position >= 0 && Number.isSafeInteger(position))) throw outOfRange(`position ${position} is no place in a file`)
  if (!(length >= 0 && Number.isSafeInteger(length))) throw outOfRange(`length ${length} is no number of bytes`)
}

/** Throws ERR_OUT_OF_RANGE unless the option is not given, or an integer from `least` on. */
export function checkCount(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
    throw outOfRange(`${name}: ${value} is no integer from ${least} on`)
}

/** Throws ERR_OUT_OF_RANGE unless the option is not given, or 0 or more; Infinity is, too. */
export function checkAmount(name: string, value: number | undefined): void {
  if (value !== undefined && !(typeof value === 'number' && value >= 0))
    throw outOfRange(`${name}: ${value} is no number from 0 on`)
}

export function outOfRange(message: string): RangeError {
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' })
}

/** What is none of the values that there are. */
export function wrongValue(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' })
}

function wrongType(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' })
}

function notBytes(given: unknown): TypeError {
  const what =
    given === null ? 'null' : typeof given === 'object' ? `a ${given.constructor?.name}` : `a ${typeof given}`
  return wrongType(`bytes are in a Uint8Array, as a Buffer is, not in ${what}`)
}
