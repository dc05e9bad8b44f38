/** The limit of open files: raised to what the system allows this process. */
import { libc, type Pointer } from './native.ts'

const RLIMIT_NOFILE = 7
const getrlimitCall = libc<[resource: number, out: Pointer]>('getrlimit', 'int', ['int', 'void*'])
const setrlimitCall = libc<[resource: number, limits: Pointer]>('setrlimit', 'int', ['int', 'void*'])

/** Raises the soft limit to the hard one; returns how many descriptors the process may have. */
export function raiseDescriptorLimit(): number {
  const limits = new BigUint64Array(2)
  if (getrlimitCall(RLIMIT_NOFILE, limits) !== 0) return 1024
  if (limits[0]! < limits[1]!) {
    const soft = limits[0]!
    limits[0] = limits[1]!
    if (setrlimitCall(RLIMIT_NOFILE, limits) !== 0) limits[0] = soft
  }
  return Number(limits[0]! < 1n << 30n ? limits[0]! : 1n << 30n)
}
