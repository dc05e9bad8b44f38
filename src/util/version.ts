/** The version of this package, as its package.json states it. Not read from there when a program runs: in one that was bundled there is no such file. `npm version` writes it (scripts/version.mjs). */
export const version: string = '0.1.0'
