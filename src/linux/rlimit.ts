/** Limits of this process: raised to what the system allows, where what counts is what the clients may. */
import { libc, type Pointer } from './native.ts'

const RLIMIT_FSIZE = 1
const RLIMIT_NOFILE = 7
const RLIM_INFINITY = 2n ** 64n - 1n
const getrlimitCall = libc<[resource: number, out: Pointer]>('getrlimit', 'int', ['int', 'void*'])
const setrlimitCall = libc<[resource: number, limits: Pointer]>('setrlimit', 'int', ['int', 'void*'])

/** Raises the soft limit of open files to the hard one; returns how many descriptors the process may have. */
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

/** Lifts the limit of how long a file may become: altogether where the process may (CAP_SYS_RESOURCE), else to the hard limit. Returns that in bytes where one is left. */
export function liftFileSizeLimit(): bigint | undefined {
  if (setrlimitCall(RLIMIT_FSIZE, BigUint64Array.of(RLIM_INFINITY, RLIM_INFINITY)) === 0) return undefined
  const limits = new BigUint64Array(2)
  if (getrlimitCall(RLIMIT_FSIZE, limits) !== 0) return undefined
  const hard = limits[1]!
  setrlimitCall(RLIMIT_FSIZE, BigUint64Array.of(hard, hard))
  return hard === RLIM_INFINITY ? undefined : hard
}
