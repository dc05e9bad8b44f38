/** Memory cgroups, of either version, to see who is charged for the page cache. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { type MountInfo, readMountInfo } from '../../src/linux/mountinfo.ts'
import { eventually } from './eventually.ts'

/** Why no memory cgroup can be made here; undefined where it can. */
export function whyNoMemoryCgroups(): string | undefined {
  return findRoot() === undefined ? 'no memory controller in a cgroup file system' : undefined
}

/** A new memory cgroup, removed when disposed of; its processes must have ended by then. */
export function memoryCgroup(name: string): MemoryCgroup {
  const root = findRoot()
  if (root === undefined) throw new Error(whyNoMemoryCgroups())
  return new MemoryCgroup(fs.mkdtempSync(path.join(root.mountpoint, `samepage-${name}-`)), root.type === 'cgroup2')
}

export class MemoryCgroup implements AsyncDisposable {
  readonly #directory: string
  readonly #isSecondVersion: boolean

  constructor(directory: string, isSecondVersion: boolean) {
    this.#directory = directory
    this.#isSecondVersion = isSecondVersion
  }

  /** What starts a program in this cgroup when put before its arguments. */
  get wrapper(): string[] {
    return ['sh', '-c', `echo $$ > '${this.#directory}/cgroup.procs' && exec "$@"`, 'sh']
  }

  /** Runs a program in this cgroup to its end. */
  run(...args: string[]): void {
    const [program = '', ...rest] = [...this.wrapper, ...args]
    execFileSync(program, rest, { stdio: ['ignore', 'ignore', 'pipe'] })
  }

  /** The kernel ends its processes rather than let them have more. */
  limit(bytes: number): void {
    const file = this.#isSecondVersion ? 'memory.max' : 'memory.limit_in_bytes'
    fs.writeFileSync(`${this.#directory}/${file}`, `${bytes}`)
  }

  /** Bytes of page cache that are charged to it. The kernel counts in batches: right to about a mebibyte. */
  get cacheBytes(): number {
    const text = fs.readFileSync(`${this.#directory}/memory.stat`, 'utf8')
    const field = this.#isSecondVersion ? /^file (\d+)$/m : /^cache (\d+)$/m
    return Number(field.exec(text)?.[1])
  }

  /** Has the kernel evict what it can of the pages that are charged to it. */
  reclaim(): void {
    const [control, wanted] = this.#isSecondVersion ? ['memory.reclaim', '4M'] : ['memory.force_empty', '0']
    try {
      fs.writeFileSync(`${this.#directory}/${control}`, wanted)
    } catch (error) {
      // It could not evict all that it was asked for.
      if (!['EAGAIN', 'EBUSY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await eventually(() => fs.rmdirSync(this.#directory))
  }
}

function findRoot(): MountInfo | undefined {
  return readMountInfo().find(({ type, superOptions, mountpoint }) => {
    if (type === 'cgroup') return superOptions.includes('memory')
    return type === 'cgroup2' && fs.readFileSync(`${mountpoint}/cgroup.subtree_control`, 'utf8').includes('memory')
  })
}
