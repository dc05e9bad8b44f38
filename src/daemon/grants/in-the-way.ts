/**
 * What keeps a file from being granted: somebody who reads or stores past the daemon, whom nobody could make wait.
 *
 * - Who has the file open in passthrough, or has it mapped that way: such a mapping outlives its open file.
 * - Who has it mapped so that his stores reach the file: the kernel writes whole pages of his back, and with them bytes from before the grant.
 * - Who reads it from the arena (`--merge content`): what is missing there is read by the keeper, whom nobody waits for.
 * - Who reads it through a cache of the kernel (`--diverged cached`, or kernels before Linux 6.6).
 *
 * While this is found out, opens are served by the daemon already, so there can only be fewer of them. Context: the grants' thread.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { isOpenElsewhere } from '../../linux/lease.ts'
import type { Context } from '../handlers/context.ts'
import { SLOT } from '../inode-table.ts'
import { SERVED } from '../slot-serving.ts'
import type { ShownFile } from './shown-file.ts'
import { mappers, openers, type Users } from './who-has-it.ts'

/** RELEASE comes after close(2) has returned: for so long an open file counts as perhaps closed. */
const PATIENCE_MS = 1000
const PATIENCE_STEP_MS = 1

/** Why the file cannot be granted now, as a sentence that says how to proceed; undefined where nothing is in the way. */
export async function whatIsInTheWay(context: Context, device: string, file: ShownFile): Promise<string | undefined> {
  const { inodes } = context
  for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(PATIENCE_STEP_MS)) {
    const slots = inodes.slotsOf(file.slot)
    for (const slot of slots) context.warm.cool(slot)
    const passed = slots.some((slot) => isPassedThrough(context, slot))
    const isInArena = slots.some((slot) => isReadFromArena(context, slot))
    if (!passed && !isInArena && !slots.some((slot) => isReadThroughCache(context, slot))) break
    if (performance.now() < deadline) continue
    const who = named(await openers({ device, ino: file.shownIno }))
    if (isInArena)
      return `${who} the file open, and it is read from the arena: close it, and open it again while it is granted`
    return passed
      ? `${who} the file open, and the kernel passes it through: close it, and open it again while it is granted, or mount with --no-passthrough`
      : `${who} the file open, and the kernel caches it: close it, or mount with --diverged direct on Linux 6.6 or newer`
  }
  const slots = inodes.slotsOf(file.slot)
  return (await whoseMapping(context, device, file, slots)) ?? (await whoseStores(context, device, file, slots))
}

async function whoseMapping(
  context: Context,
  device: string,
  file: ShownFile,
  slots: readonly number[],
): Promise<string | undefined> {
  const { inodes } = context
  if (!slots.some((slot) => inodes.get(slot, SLOT.PASSED) !== 0)) return undefined
  // Where the daemon has it open for nobody, and nobody else has it open below, there is no such mapping. Else /proc tells, as far as it can be seen. What was
  // passed through is closed by the kernel a little later than the open file.
  for (
    const deadline = performance.now() + PATIENCE_MS;
    isOpenElsewhere(file.fd) !== false;
    await sleep(PATIENCE_STEP_MS)
  ) {
    const users = await mappers({ device, ino: file.shownIno }, false)
    if (users.pids.length === 0 && !users.isPartial) break
    if (users.pids.length > 0 || performance.now() >= deadline)
      return `${named(users)} the file mapped as it was opened before: unmap it, and map it again while it is granted, or mount with --no-passthrough`
  }
  // Nobody can pass through it without a new open, which sets the mark again.
  for (const slot of slots) forgetPassed(context, slot)
  return undefined
}

/** Processes that cannot be looked into are let be: what the kernel writes back for them into a range that is granted is refused. */
async function whoseStores(
  { inodes }: Context,
  device: string,
  file: ShownFile,
  slots: readonly number[],
): Promise<string | undefined> {
  const mayBe = (slot: number) => inodes.get(slot, SLOT.FILLED) !== 0 && inodes.get(slot, SLOT.WRITERS) > 0
  if (!slots.some(mayBe)) return undefined
  const { pids } = await mappers({ device, ino: file.shownIno }, true)
  return pids.length === 0
    ? undefined
    : `${named({ pids, isPartial: false })} the file mapped, and can store to it: unmap it, or map it for reading only`
}

/** Under the slot's lock: an open that is being answered has been counted, or sees that the file is granted. */
function isPassedThrough({ inodes, serving, homes, options }: Context, slot: number): boolean {
  const lock = inodes.lockOf(slot)
  lock.lock()
  try {
    if (!options.passthrough || inodes.get(slot, SLOT.OPENS) === 0) return false
    const kind = serving.kind(slot)
    if (kind === SERVED.PRIVATE) return inodes.get(slot, SLOT.BACKING) > 0
    return kind === SERVED.PRISTINE && homes.backing(inodes.get(slot, SLOT.HOME)) > 0
  } finally {
    lock.unlock()
  }
}

/** Under the slot's lock: the last close has the map forgotten by which the file is read. */
function isReadFromArena({ inodes, opening }: Context, slot: number): boolean {
  return inodes.lockOf(slot).locked(() => inodes.get(slot, SLOT.OPENS) > 0 && opening.isInArena(slot))
}

function isReadThroughCache({ inodes, serving, opening }: Context, slot: number): boolean {
  return inodes.get(slot, SLOT.OPENS) > 0 && opening.isCachedByKernel(serving.kind(slot))
}

function forgetPassed({ inodes, serving }: Context, slot: number): void {
  const lock = inodes.lockOf(slot)
  lock.lock()
  if (serving.kind(slot) === SERVED.UNDECIDED || inodes.get(slot, SLOT.BACKING) === 0) inodes.set(slot, SLOT.PASSED, 0)
  lock.unlock()
}

function named({ pids, isPartial }: Users): string {
  if (pids.length === 0) return 'some process has'
  const others = isPartial ? ', and perhaps others,' : ''
  return pids.length === 1 && others === '' ? `process ${pids[0]} has` : `processes ${pids.join(', ')}${others} have`
}
