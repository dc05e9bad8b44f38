/**
 * The system calls that the library uses where they are there: Linux, and koffi can be loaded. Without them the cache works all the same, in a
 * SharedArrayBuffer, and nothing is shared by address.
 */
import type { ExtentList } from '../storage/extents.ts'
import type { Homes, HomesEvents } from './homes.ts'

/** NUMA as the system tells it; node numbers are the system's. See src/linux/numa.ts. */
export interface NumaSystem {
  readNodes(): {
    readonly number: number
    readonly bytes: number
    readonly distances: ReadonlyMap<number, number>
  }[]
  readCpuNodes(): number[]
  currentCpu(): number
  bindMemory(memory: Uint8Array, node: number): void
  pagesByNode(memories: readonly Uint8Array[]): Map<number, number>
}

/** Places in the address space that show files or devices: see linux/windows.ts. */
interface WindowSystem {
  open(
    fd: number,
    bytes: number,
    alignBytes?: number,
  ): { readonly address: number; readonly capacity: number } | undefined
  close(window: { readonly address: number; readonly capacity: number }, alignBytes?: number): void
  view(window: { readonly address: number; readonly capacity: number }): Uint8Array[]
}

/** A device DAX: see linux/dax-device.ts. */
export interface DaxDevice {
  readonly bytes: number
  readonly alignBytes: number
}

export interface Native {
  /** Memory at an address: see linux/memory.ts. */
  givesHugePages(): boolean
  takeMemory(bytes: number, hugePages: boolean): number
  viewMemory(address: number, bytes: number): Uint8Array[]
  forgoHugePages(memory: Uint8Array): void
  /** Whole pages of memory that was taken. */
  giveBackMemory(memory: Uint8Array): void
  /** All that was taken at an address, and given back. */
  leaveMemory(address: number, bytes: number): void
  /** A hint: see linux/memory.ts. */
  adviseHugePages(buffer: SharedArrayBuffer): void
  close(fd: number): void
  /** A descriptor for direct reading of what `fd` is open on; negative where the file system has none. */
  reopenDirect(fd: number): number
  /** The mount that `fd` was opened through, by an id that is never used again; 0 where that is not told: see linux/mount-id.ts. */
  uniqueMountId(fd: number): number
  /** Whether anybody has the file open, or mapped, for writing; undefined where that cannot be told. */
  isOpenForWriting(fd: number): boolean | undefined
  readonly numa: NumaSystem
  readonly windows: WindowSystem
  /** Whether the bytes of what `fd` is open on are read where they lie. */
  isDax(fd: number): boolean
  /** Whether they lie in main memory as it is. */
  livesInMemory(fd: number): boolean
  /** Whether a file can get a clone and go on to be read where it lies: see linux/dax.ts. */
  clonesKeepDax(): boolean
  /** The device DAX that `fd` is open on; undefined where it is none. */
  daxDevice(fd: number): DaxDevice | undefined
  /** Where bytes of a file lie that nobody writes; it is the caller's until the next call. Throws the system's error. */
  readExtents(fd: number, start: number, length: number): ExtentList
  /** Sharing by address; `minShareBytes`: fewer shared bytes are not worth a home. */
  createHomes(minShareBytes: number | undefined, events: HomesEvents): Homes
}

/** Undefined where there are none. `SAMEPAGE_NATIVE=0` in the environment switches them off. */
export async function loadNative(): Promise<Native | undefined> {
  if (process.platform !== 'linux' || process.env.SAMEPAGE_NATIVE === '0') return undefined
  try {
    return (await import('./linux-native.ts')).linuxNative
  } catch {
    // koffi has no binary for this platform, or it was installed without.
    return undefined
  }
}
