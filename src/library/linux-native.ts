/** {@link Native} on Linux. Importing this fails where koffi or the C library cannot be loaded. */
import { clonesKeepDax, isDax } from '../linux/dax.ts'
import { daxDevice } from '../linux/dax-device.ts'
import { throwIfNegative } from '../linux/errors.ts'
import { close, O_DIRECT, O_NONBLOCK, O_RDONLY, reopen } from '../linux/file.ts'
import { kindOf, livesInMemory } from '../linux/filesystem-kinds.ts'
import { isOpenForWriting } from '../linux/lease.ts'
import {
  adviseHugePages,
  forgoHugePages,
  giveBackMemory,
  givesHugePages,
  leaveMemory,
  takeMemory,
  viewMemory,
} from '../linux/memory.ts'
import { uniqueMountId } from '../linux/mount-id.ts'
import { bindMemory, currentCpu, pagesByNode, readCpuNodes, readNodes } from '../linux/numa.ts'
import { closeWindow, openWindow, viewWindow } from '../linux/windows.ts'
import { ExtentList } from '../storage/extents.ts'
import { readExtents } from '../storage/read-extents.ts'
import { Homes } from './homes.ts'
import type { Native } from './native.ts'

const extents = new ExtentList()

export const linuxNative: Native = {
  takeMemory,
  viewMemory,
  forgoHugePages,
  giveBackMemory,
  leaveMemory,
  givesHugePages,
  adviseHugePages,
  close,
  reopenDirect: (fd) => reopen(fd, O_RDONLY | O_NONBLOCK | O_DIRECT),
  uniqueMountId,
  isOpenForWriting,
  numa: { readNodes, readCpuNodes, currentCpu, bindMemory, pagesByNode },
  windows: { open: openWindow, close: closeWindow, view: viewWindow },
  isDax,
  livesInMemory: (fd) => livesInMemory(kindOf(fd)),
  clonesKeepDax,
  daxDevice,
  readExtents: (fd, start, length) => {
    throwIfNegative(readExtents(fd, start, length, extents, Number.POSITIVE_INFINITY, false), 'ioctl FS_IOC_FIEMAP')
    return extents
  },
  createHomes: (minShareBytes, events) => new Homes(minShareBytes, events),
}
