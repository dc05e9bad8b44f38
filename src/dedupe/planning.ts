/** Making a plan as a process does it that can be told to end: content of some TiB takes minutes. */
import { breathing } from './breaths.ts'
import type { FileUses } from './file-uses.ts'
import { type Plan, planSteps } from './plan.ts'
import type { StoredPages } from './stored-pages.ts'

interface PlanningOptions {
  /** Asked many times a second, after events were handled: is it to end now? */
  readonly isInterrupted: () => boolean
  /** Called after each file. */
  readonly onFile: () => void
}

/** Makes a plan with runs of `stride` pages and more; undefined where it was interrupted. Blocks the thread but for a breath many times a second. */
export async function planUnlessInterrupted(
  uses: FileUses,
  pages: StoredPages,
  stride: number,
  { isInterrupted, onFile }: PlanningOptions,
): Promise<Plan | undefined> {
  const steps = planSteps(uses, pages, stride, onFile)
  const breath = breathing(isInterrupted)
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
    if (await breath()) return undefined
  }
}
