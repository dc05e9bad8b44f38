/**
 * Lets the cache's own modules, as they are, run in simulated memory: while {@link Machine.run} runs, `Int32Array` over a simulated buffer and `Atomics` on it
 * go to whoever is executing, one access at a time.
 */
import type { Region } from './sim-memory.ts'

/** Does the accesses of the thread that runs now. Addresses are those of simulated words. */
export interface Executor {
  load(address: number): number
  store(address: number, value: number): void
  loadAtomic(address: number): number
  storeAtomic(address: number, value: number): void
  change(address: number, to: (before: number) => number): number
}

type Words = Int32Array

export class Machine {
  executor!: Executor
  readonly #regions = new Map<ArrayBufferLike, Region>()
  /** Of simulated arrays the address of their first word, and how many there are. */
  readonly #places = new WeakMap<object, { readonly base: number; readonly length: number }>()

  simulate(buffer: SharedArrayBuffer, region: Region): void {
    this.#regions.set(buffer, region)
  }

  /** Runs `body`, which must not wait for anything, on this machine. */
  run<T>(body: () => T): T {
    const globals = globalThis as { Int32Array: unknown; Atomics: unknown }
    const { Int32Array: RealArray, Atomics: realAtomics } = globalThis
    try {
      globals.Int32Array = this.#arrays(RealArray)
      globals.Atomics = this.#atomics(realAtomics)
      return body()
    } finally {
      globals.Int32Array = RealArray
      globals.Atomics = realAtomics
    }
  }

  /** An array of which an element is at the address that `addressOf` says. */
  array(length: number, addressOf: (index: number) => number): Uint8Array {
    const named: Record<string, unknown> = {
      length,
      some: (test: (word: number) => boolean) => {
        for (let i = 0; i < length; i++) if (test(this.executor.load(addressOf(i)))) return true
        return false
      },
      subarray: (from = 0, to = length) => this.array(to - from, (index) => addressOf(from + index)),
    }
    return new Proxy({} as Uint8Array, {
      get: (_, key) => {
        const index = Number(key as string)
        if (index >= 0 && index < length) return this.executor.load(addressOf(index))
        return named[key as string]
      },
      set: (_, key, value: number) => {
        this.executor.store(addressOf(Number(key as string)), value)
        return true
      },
    })
  }

  #arrays(Real: Int32ArrayConstructor): unknown {
    const machine = this
    return new Proxy(Real, {
      construct(_, [buffer, byteOffset = 0, length]: [ArrayBufferLike | number, number?, number?]) {
        const region = typeof buffer === 'number' ? undefined : machine.#regions.get(buffer)
        if (region === undefined) return new Real(buffer as ArrayBuffer, byteOffset, length)
        const base = region.base + byteOffset / 4
        const count = length ?? region.words - byteOffset / 4
        const words = machine.array(count, (index) => base + index)
        machine.#places.set(words, { base, length: count })
        return words
      },
    })
  }

  #atomics(real: typeof Atomics): unknown {
    const change = (words: Words, index: number, to: (before: number) => number): number =>
      this.executor.change(this.#addressOf(words, index), to)
    return {
      load: (words: Words, index: number) =>
        this.#places.has(words) ? this.executor.loadAtomic(this.#addressOf(words, index)) : real.load(words, index),
      store: (words: Words, index: number, value: number) =>
        this.executor.storeAtomic(this.#addressOf(words, index), value),
      add: (words: Words, index: number, value: number) => change(words, index, (before) => (before + value) | 0),
      // Nobody sleeps here: who would wait gives up at once.
      notify: () => 0,
      wait: () => 'timed-out',
      or: (words: Words, index: number, value: number) => change(words, index, (before) => before | value),
      compareExchange: (words: Words, index: number, expected: number, value: number) =>
        change(words, index, (before) => (before === expected ? value : before)),
    }
  }

  #addressOf(words: Words, index: number): number {
    const { base, length } = this.#places.get(words)!
    if (!(index >= 0 && index < length)) throw new RangeError(`an atomic access to ${index} of ${length} words`)
    return base + index
  }
}
