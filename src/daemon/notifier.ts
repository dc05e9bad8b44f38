/**
 * The notifier thread: tells the kernel to drop what it caches. Such a message can wait for a request that a worker has in hand, so no worker
 * may send it.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { invalidateInode, pruneInodes } from '../fuse/notify.ts'
import type { Invalidate } from './shared-state.ts'

const PRUNED_AT_ONCE = 4096

export interface NotifierStart {
  readonly fuseFd: number
}

const { fuseFd } = workerData as NotifierStart

/** The keeper hands over one port per worker; and the nodeids of inodes that are to be forgotten. */
parentPort?.on('message', (message: MessagePort | number[]) => {
  if (Array.isArray(message)) {
    for (let at = 0; at < message.length; at += PRUNED_AT_ONCE)
      if (pruneInodes(fuseFd, message.slice(at, at + PRUNED_AT_ONCE)) < 0) break
    return
  }
  message.on('message', ({ nodeid, offset }: Invalidate) => {
    // ENOENT: the kernel has forgotten the inode. Nothing else can be done about other errors either.
    invalidateInode(fuseFd, nodeid, offset, 0)
  })
})
