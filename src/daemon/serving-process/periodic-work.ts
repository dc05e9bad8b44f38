/** What has to be done every few seconds, whoever asks for what. Context: the keeper's thread. */
import { Pruning } from '../pruning.ts'
import type { ServingStart } from '../shared-state.ts'
import type { OpenedSource } from '../source.ts'
import { isDiskNearlyFull } from '../space.ts'
import type { Threads } from '../threads.ts'
import { TOLD_SWEEP_MS } from '../told-stale.ts'
import { WARM_SWEEP_MS } from '../warm-files.ts'
import type { KeeperContext } from './keeper-context.ts'

const SWEEP_MS = 5000

/** Begins with it; returns what ends it. */
export function startPeriodicWork(
  { inodes, files, keeper, warm, toldStale }: KeeperContext,
  { directoriesMax }: ServingStart,
  { directoryFd }: OpenedSource,
  threads: Threads,
): () => void {
  const pruning = new Pruning(inodes, (nodeids) => threads.prune(nodeids))
  let evictFrom = 0
  const sweep = setInterval(() => {
    if (inodes.count > directoriesMax) evictFrom = files.evict(evictFrom, directoriesMax)
    pruning.sweep()
    void sweepHomes()
  }, SWEEP_MS)

  let isSweeping = false
  /** A sweep may take longer than the time to the next. */
  async function sweepHomes(): Promise<void> {
    if (isSweeping) return
    isSweeping = true
    try {
      await keeper.sweep(isDiskNearlyFull(directoryFd))
    } catch (error) {
      process.stderr.write(`samepage: sweeping homes failed: ${String(error)}\n`)
    } finally {
      isSweeping = false
    }
  }

  const coolIdle = setInterval(() => void warm.sweep(), WARM_SWEEP_MS)
  const letGo = setInterval(() => toldStale.sweep(), TOLD_SWEEP_MS)
  return () => {
    clearInterval(sweep)
    clearInterval(coolIdle)
    clearInterval(letGo)
  }
}
