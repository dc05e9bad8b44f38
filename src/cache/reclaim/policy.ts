/** What decides which page goes. One for each cache, called by the keeper only; readers just raise ages. */

/** In place of a stamp: the page was in memory never, or too long ago. */
export const NEVER = -1

export interface ReclaimPolicy {
  /** A page was loaded into `frame`. `stamp` is that of its shadow entry, or {@link NEVER}. `isWanted`: somebody asked for it, it was not just read ahead. */
  insert(frame: number, stamp: number, isWanted: boolean): void
  /** The frame is given up for another reason than memory. */
  remove(frame: number): void
  /** The frame to give up now, which is then forgotten; -1 where all are pinned. */
  victim(isPinned: (frame: number) => boolean): number
  /** What the shadow entry of the frame that {@link victim} returned last is to keep: 28 bits. */
  stampOf(frame: number): number
  /** Whether a shadow entry of that stamp still tells anything. */
  isWorthKeeping(stamp: number): boolean
  /** How many frames there may be from now on. */
  resize(frames: number): void
  checkInvariants(): void
}

/** How often each frame was read since the policy looked. */
export interface Ages {
  age(frame: number): number
  setAge(frame: number, age: number): void
}
