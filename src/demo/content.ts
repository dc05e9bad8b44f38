/**
 * Bytes that no compressor makes smaller and that can be made again, from any place on, out of a seed: the key stream of AES
 * in counter mode. So a file can be checked byte by byte without a second copy of it anywhere.
 */
import { createCipheriv, createHash } from 'node:crypto'

const BLOCK_BYTES = 16
const zeros = Buffer.alloc(1 << 20)

export class Content {
  readonly #key: Buffer

  /** Different seeds, and different streams of one seed, have nothing in common. */
  constructor(seed: number, stream: string) {
    this.#key = createHash('sha256').update(`${seed}/${stream}`).digest().subarray(0, BLOCK_BYTES)
  }

  /** The `length` bytes (1 MiB at most) from `offset` on, a multiple of 16. */
  bytes(offset: number, length: number): Buffer {
    const counter = Buffer.alloc(BLOCK_BYTES)
    counter.writeBigUInt64BE(BigInt(offset / BLOCK_BYTES), 8)
    return createCipheriv('aes-128-ctr', this.#key, counter).update(zeros.subarray(0, length))
  }

  /** `count` different whole numbers below `limit`, in ascending order. */
  choose(count: number, limit: number): number[] {
    const chosen = new Set<number>()
    for (let offset = 0; chosen.size < Math.min(count, limit); offset += 4096) {
      const words = this.bytes(offset, 4096)
      for (let at = 0; at < words.length && chosen.size < count; at += 4) {
        chosen.add(Math.floor((words.readUInt32LE(at) / 2 ** 32) * limit))
      }
    }
    return [...chosen].sort((a, b) => a - b)
  }
}
