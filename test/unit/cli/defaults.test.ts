/** What the help says an option is by default is what could be written there. */
import { expect, test } from 'vitest'
import { dedupeCommand } from '../../../src/cli/dedupe.ts'
import { demoCommand } from '../../../src/cli/demo.ts'
import { exclusiveCommand } from '../../../src/cli/exclusive.ts'
import { inspectCommand } from '../../../src/cli/inspect.ts'
import { mountCommand } from '../../../src/cli/mount.ts'

test.each([mountCommand, exclusiveCommand, demoCommand, inspectCommand, dedupeCommand])('$name', (command) => {
  for (const option of command().options) {
    const { defaultValue, defaultValueDescription: text, parseArg } = option
    if (defaultValue === undefined || typeof defaultValue === 'boolean') continue
    const name = `${option.flags}, default ${text ?? defaultValue}`
    if (/<(size|time|share)>/.test(option.flags)) expect(text, name).toBeDefined()
    expect(text ?? typeof defaultValue, name).not.toBe('object')
    if (text !== undefined && /^\d/.test(text)) expect(parseArg!(text, defaultValue), name).toBe(defaultValue)
  }
})
