import type { Ages, ReclaimPolicy } from './policy.ts'
export class Clock implements ReclaimPolicy {
  #ring: number[] = []
  readonly #ages: Ages
  constructor(_capacity: number, ages: Ages) {
    this.#ages = ages
  }
  insert(frame: number): void {
    this.#ring.push(frame)
  }
  remove(frame: number): void {
    this.#ring.splice(this.#ring.indexOf(frame), 1)
  }
  victim(isPinned: (frame: number) => boolean): number {
    for (let i = this.#ring.length * 5; i > 0; i--) {
      const f = this.#ring.shift()!
      const a = this.#ages.age(f)
      if (a > 0 || isPinned(f)) {
        this.#ages.setAge(f, Math.max(0, a - 1))
        this.#ring.push(f)
        continue
      }
      return f
    }
    return -1
  }
  stampOf(): number {
    return 1
  }
  isWorthKeeping(): boolean {
    return false
  }
  resize(): void {}
  checkInvariants(): void {}
}
