/** What stands in the table of grants, for each file in the order in which it came, and which of it keeps which out. */
import type { Grant, GrantReaders, GrantWish, PageRange, PassageWish } from './grant-authority.ts'

/** What a wish came to: its range and holder are those of the wish. */
class RangeClaim<Wish extends GrantWish | PassageWish> implements PageRange {
  readonly wish: Wish
  /** Those ahead of it for which it does not wait: see wait-graph.ts. */
  readonly passes = new Set<Claim>()
  stopTimeout: (() => void) | undefined

  constructor(wish: Wish) {
    this.wish = wish
  }

  get file(): string {
    return this.wish.file
  }
  get from(): number {
    return this.wish.from
  }
  get to(): number {
    return this.wish.to
  }
  get holder(): Wish['holder'] {
    return this.wish.holder
  }
}

export class GrantClaim extends RangeClaim<GrantWish> implements Grant {
  readonly kind = 'grant'
  /**
   * ```
   *   waiting ──▶ held ──▶ draining ──▶ publishing ──▶ held
   *      └──────────┴──▶ ended
   * ```
   * Draining: readers of what was published last are still inside.
   */
  phase: 'waiting' | 'held' | 'draining' | 'publishing' | 'ended' = 'waiting'
  grantedAtMs = 0
  /** When it is taken. */
  takenAtMs = Number.POSITIVE_INFINITY
  /** Ends when it has been published. */
  isDoomed = false
  onReady: (() => void) | undefined
  /** Of asking the holder to give it back. */
  stopAsking: (() => void) | undefined
  /** Of taking it. */
  stopTaking: (() => void) | undefined

  get readers(): GrantReaders {
    return this.wish.readers
  }
  get isPublishing(): boolean {
    return this.phase === 'draining' || this.phase === 'publishing'
  }
}

export class PassageClaim extends RangeClaim<PassageWish> {
  readonly kind = 'passage'
  phase: 'waiting' | 'inside' | 'ended' = 'waiting'
}

export type Claim = GrantClaim | PassageClaim

/** What is known of one file. */
export interface FileClaims {
  readonly file: string
  /** Given, and not ended. */
  grants: GrantClaim[]
  readonly inside: Set<PassageClaim>
  /** In the order in which they came. */
  waiting: Claim[]
}

export function overlap(a: PageRange, b: PageRange): boolean {
  return a.from < b.to && b.from < a.to
}

/** Whether the two cannot be at a time. */
export function exclude(a: Claim, b: Claim): boolean {
  if (!overlap(a, b)) return false
  if (a.kind === 'grant') return b.kind === 'grant' || excludesPassage(a, b, a.isPublishing)
  return b.kind === 'grant' && excludesPassage(b, a, b.isPublishing)
}

/** The same, once nothing is being published: what is left then ends only when a holder wants it to. */
export function excludeForLong(a: Claim, b: Claim): boolean {
  if (!overlap(a, b)) return false
  if (a.kind === 'grant') return b.kind === 'grant' || excludesPassage(a, b, false)
  return b.kind === 'grant' && excludesPassage(b, a, false)
}

function excludesPassage(grant: GrantClaim, { holder, wish }: PassageClaim, isPublishing: boolean): boolean {
  if (isPublishing) return true
  return holder !== grant.holder && (wish.writes || grant.readers === 'wait')
}
