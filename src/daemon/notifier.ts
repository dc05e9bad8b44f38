/**
 * The notifier thread: tells the kernel to drop what it caches. Such a message can wait for a request that a worker has in hand, so no worker
 * may send it.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { invalidateInode } from '../fuse/notify.ts'
import type { Invalidate } from './shared-state.ts'

export interface NotifierStart {
  readonly fuseFd: number
}

const { fuseFd } = workerData as NotifierStart

/** The keeper hands over one port per worker. */
parentPort?.on('message', (port: MessagePort) => {
  port.on('message', ({ nodeid, offset }: Invalidate) => {
    // ENOENT: the kernel has forgotten the inode. Nothing else can be done about other errors either.
    invalidateInode(fuseFd, nodeid, offset, 0)
  })
})
