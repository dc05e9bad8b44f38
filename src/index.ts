export { SystemError } from './linux/errors.ts'
export { version } from './util/version.ts'
