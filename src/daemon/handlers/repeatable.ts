import type { Request } from '../../fuse/messages.ts'
import { IN, type OpcodeName } from '../../fuse/protocol.ts'
import { O_DSYNC } from '../../linux/file.ts'
import { OPEN_DSYNC, OPEN_SYNC } from '../open-handle.ts'

/**
 * Which requests may be handled once more when there was no space. Not those that wait for the disk: a descriptor is told once of what could not be written back, so the second time all would
 * seem well; and what a synchronous write appends may be there already.
 */
export function isRepeatable(name: OpcodeName): (request: Request) => boolean {
  switch (name) {
    case 'FSYNC':
    case 'FSYNCDIR':
    case 'SYNCFS':
      return () => false
    case 'WRITE':
      return (request) => (request.u32(IN.WRITE.flags) & O_DSYNC) === 0 && !isSynchronous(request.u32(IN.WRITE.fhUpper))
    case 'COPY_FILE_RANGE':
      return (request) => !isSynchronous(request.u32(IN.COPY_FILE_RANGE.fhOutUpper))
    default:
      return () => true
  }
}

/** `marks`: the upper half of the handle of an open file. */
const isSynchronous = (marks: number): boolean => (marks & (OPEN_DSYNC | OPEN_SYNC)) !== 0
