// What the processes of the stress of grants have in common: see grants_stress.py.
import fs from 'node:fs'

/** Who holds which group now. */
export class Board {
  #fd
  #word = Buffer.alloc(8)

  constructor(file) {
    this.#fd = fs.openSync(file, 'r+')
  }

  word(group) {
    fs.readSync(this.#fd, this.#word, 0, 8, group * 8)
    return this.#word.readBigUInt64LE()
  }

  set(group, isHeld, readersMay) {
    const word = (((this.word(group) >> 2n) + 1n) << 2n) | (readersMay ? 2n : 0n) | (isHeld ? 1n : 0n)
    this.#word.writeBigUInt64LE(word)
    fs.writeSync(this.#fd, this.#word, 0, 8, group * 8)
  }

  /** Whether who found `before` when he began, and has ended by now, should have waited. */
  hasNotWaited(group, before, writes) {
    return this.word(group) === before && (before & 1n) === 1n && (writes || (before & 2n) === 0n)
  }
}

/** Numbers by chance, the same for the same seed. */
export class Dice {
  #state

  constructor(seed) {
    this.#state = Number(seed) || 1
  }

  below(n) {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    return (this.#state >>> 0) % n
  }
}
