import fs from 'node:fs'

/** The version of this package, as its package.json states it. Reads that file once, when first imported. */
export const version: string = JSON.parse(
  fs.readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
).version
