/** What the load generators share. */
import type { Rate } from '../client.ts'

/** The task that the process was given. */
export function task<Task>(): Task {
  return JSON.parse(process.argv[2] ?? '{}') as Task
}

export function answer(result: object): void {
  process.stdout.write(JSON.stringify(result))
}

/** The numbers below `count` in an order that is the same in every run. */
export function shuffled(count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  let state = 1
  for (let i = count - 1; i > 0; i--) {
    // A linear congruential generator (Numerical Recipes) is random enough for an order.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const j = Math.floor((state / 2 ** 32) * (i + 1))
    const other = order[j]!
    order[j] = order[i]!
    order[i] = other
  }
  return order
}

/** `count` numbers below `limit`, the same in every run; `seed` from 1 on. */
export function randomBelow(limit: number, count: number, seed = 1): Int32Array {
  let state = seed
  return Int32Array.from({ length: count }, () => {
    // xorshift (G. Marsaglia, 2003).
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  })
}

/** Runs of all sides in turns: a machine with other work on it slows all of them down alike. The first round is left out. */
export async function inTurns<Name extends string>(
  rounds: number,
  sides: Readonly<Record<Name, () => number | Promise<number>>>,
): Promise<Record<Name, Rate>> {
  const names = Object.keys(sides) as Name[]
  const rates = Object.fromEntries(names.map((name) => [name, { count: 0, seconds: 0 }])) as Record<Name, Rate>
  for (let round = 0; round <= rounds; round++)
    for (const name of names) {
      const began = performance.now()
      const count = await sides[name]()
      const seconds = (performance.now() - began) / 1000
      if (round > 0) rates[name] = { count: rates[name].count + count, seconds: rates[name].seconds + seconds }
    }
  return rates
}

/** Throws where a system call returned -errno. */
export function must(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: errno ${-result}`)
  return result
}
