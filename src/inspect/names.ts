/**
 * File names are bytes. Inside inspect a name is a string from which the bytes can be got back: a byte that is not part of
 * valid UTF-8 becomes the lone surrogate U+DC00 + byte (the convention of Python's `surrogateescape`). JSON carries such
 * a string as it is; people get it escaped.
 */

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The string for the name in `bytes`. */
export function decodeName(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    return decodeBroken(bytes)
  }
}

/** The bytes of a string from {@link decodeName}, NUL-terminated, for a system call. */
export function encodeName(name: string): Buffer {
  if (!/\p{Surrogate}/u.test(name)) return Buffer.from(`${name}\0`)
  const parts: Buffer[] = []
  for (const character of name) {
    const code = character.codePointAt(0)!
    parts.push(isEscapedByte(code) ? Buffer.of(code - 0xdc00) : Buffer.from(character))
  }
  return Buffer.concat([...parts, Buffer.of(0)])
}

/** A name or path for the terminal: control characters, which could drive it, and broken bytes as `\x1b`. */
export function printableName(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return name.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu, (character) => {
    const code = character.codePointAt(0)!
    if (isEscapedByte(code)) return hexEscape(code - 0xdc00)
    return code < 0x100 ? hexEscape(code) : `\\u${code.toString(16).padStart(4, '0')}`
  })
}

function hexEscape(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`
}

function isEscapedByte(code: number): boolean {
  return code >= 0xdc80 && code <= 0xdcff
}

/** Decodes what is valid, sequence by sequence, and escapes the other bytes. */
function decodeBroken(bytes: Uint8Array): string {
  let name = ''
  for (let i = 0; i < bytes.length; ) {
    const length = sequenceLength(bytes[i]!)
    try {
      if (length === 0 || i + length > bytes.length) throw new RangeError('not the first byte of a sequence')
      name += utf8.decode(bytes.subarray(i, i + length))
      i += length
    } catch {
      name += String.fromCharCode(0xdc00 + bytes[i]!)
      i++
    }
  }
  return name
}

/** Bytes of the UTF-8 sequence that begins with `byte`, 0 if none does. */
function sequenceLength(byte: number): number {
  if (byte < 0x80) return 1
  if (byte < 0xc2) return 0
  if (byte < 0xe0) return 2
  if (byte < 0xf0) return 3
  return byte < 0xf5 ? 4 : 0
}
