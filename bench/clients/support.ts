/** What the load generators share. */

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

/** Throws where a system call returned -errno. */
export function must(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: errno ${-result}`)
  return result
}
