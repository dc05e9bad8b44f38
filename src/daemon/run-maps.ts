/**
 * The run maps of mapped files, as one worker sees them. The keeper posts a map to every worker before it answers
 * the open that needs it, so a worker that meets an unknown number finds it among its unread messages.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { OwnPages } from '../cache/own-pages.ts'
import { RunMap } from '../cache/run-map.ts'
import { DroppedMemory } from '../util/dropped-memory.ts'
import type { ContentRef } from './content/content-files.ts'
import type { DirectHome } from './dax/direct-homes.ts'
import type { Maps } from './served-opens.ts'
import type { HomeRef, ToKeeper, ToWorker } from './shared-state.ts'

export interface MappedFile {
  readonly runs: RunMap
  readonly homes: readonly HomeRef[]
  /** Pages that were changed since; where the mount can be written to, or is watched from below. */
  readonly own: OwnPages | undefined
  /** Whose pages the runs are that lie in the arena; undefined: there are none. */
  readonly content: ContentRef | undefined
  /** By number, the homes that are read where they lie; undefined: none is. */
  readonly direct: ReadonlyMap<number, DirectHome> | undefined
  /** Shared memory that both take. */
  readonly bytes: number
}

/** The pages that are the file's own since its map was made, if there are any. */
export const writtenOf = ({ own }: MappedFile): OwnPages | undefined => (own?.isEmpty === false ? own : undefined)

export class RunMaps {
  readonly #port: MessagePort
  readonly #maps = new Map<number, MappedFile>()
  readonly #dropped = new DroppedMemory()

  constructor(port: MessagePort) {
    this.#port = port
  }

  /** Map `number`; throws where there is none, which is a defect. */
  get(number: number): MappedFile {
    const known = this.#maps.get(number)
    if (known !== undefined) return known
    this.drain()
    const posted = this.#maps.get(number)
    if (posted === undefined) throw new Error(`run map ${number} was never posted`)
    return posted
  }

  /** What opening and releasing files needs of them. */
  asMaps(tellKeeper: (message: ToKeeper) => void): Maps {
    return {
      homesOf: (map) => this.get(map).homes,
      discard: (map) => tellKeeper({ type: 'unmap', map }),
    }
  }

  /** Reads the keeper's messages. */
  drain(): void {
    for (let next = receiveMessageOnPort(this.#port); next !== undefined; next = receiveMessageOnPort(this.#port)) {
      const message = next.message as ToWorker
      if (message.type === 'map')
        this.#maps.set(message.map, {
          runs: RunMap.attach(message.runs),
          homes: message.homes,
          own: message.own === undefined ? undefined : new OwnPages(message.own),
          content: message.content,
          direct: message.direct,
          bytes: message.runs.byteLength + (message.own?.byteLength ?? 0),
        })
      else this.#drop(message.map)
    }
  }

  #drop(map: number): void {
    const known = this.#maps.get(map)
    if (known === undefined) return
    this.#maps.delete(map)
    this.#dropped.add(known.bytes)
  }
}
