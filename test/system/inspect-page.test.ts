/** The page of `samepage inspect --html`, in a real browser: what is to be seen, and what can be done with it. */
import fs from 'node:fs'
import path from 'node:path'
import type { Browser, Locator } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { backgroundOf, openPage, startBrowser } from '../support/browser.ts'
import { clone, noise, PAGE, run, writeSynced } from '../support/files.ts'
import { inspectResident } from '../support/inspect.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'

/** Names that would be a script, an element or the end of an attribute, were they not escaped. */
const EVIL = `<script>alert(1)<!--"'&lt;`

describeWith(['root', 'loop', 'cachestat', 'xfs', 'program:chromium'], 'the page of samepage inspect', () => {
  let filesystem: LoopFilesystem
  let browser: Browser
  let tree = ''
  let file = ''
  const at = (name: string) => path.join(tree, name)
  /** A directory's tile on the map that is shown. */
  const tileOf = (view: Locator, name: string) => view.locator(`.tile:not(.rest)[data-path="${at(name)}"]`)
  const areaOf = async (tile: Locator) => {
    const { width, height } = (await tile.boundingBox())!
    return width * height
  }

  beforeAll(async () => {
    browser = await startBrowser()
    filesystem = await loopFilesystem('xfs')
    tree = path.join(filesystem.path, 'tree')
    file = path.join(filesystem.directory, 'report.html')
    for (const name of ['vms/old', 'vms/new', 'own', 'cold', EVIL]) fs.mkdirSync(at(name), { recursive: true })
    writeSynced(at('vms/old/a'), noise(256 * PAGE, 1))
    for (const name of ['vms/new/a', 'vms/new/b', 'cold/a', `${EVIL}/${EVIL}`]) clone(at('vms/old/a'), at(name))
    writeSynced(at('own/file'), noise(256 * PAGE, 2))
    run('sync', '-f', tree)
    inspectResident(
      {
        ...{ [at('vms/old/a')]: [[0, 256]], [at('vms/new/a')]: [[0, 256]], [at('vms/new/b')]: [[0, 256]] },
        ...{ [at('own/file')]: [[0, 256]], [at('cold/a')]: [], [at(`${EVIL}/${EVIL}`)]: [[0, 16]] },
      },
      ['--html', file, tree],
    )
  })
  afterAll(async () => {
    await browser?.close()
    await filesystem?.[Symbol.asyncDispose]()
  })

  test('shows the sums, the map and the tables, asks for nothing else, and runs no name', async () => {
    const { page, complaints } = await openPage(browser, file)
    expect(await page.title()).toBe(`samepage inspect ${tree}`)
    const sums = await page.locator('dl').textContent()
    // 3 × 1 MiB and 16 pages of one MiB; all of it but one copy is too much.
    expect(sums).toContain('Cached more than once now2.1 MiB51% of what is cached')
    for (const title of ['By directory', 'By group of clones', 'By file'])
      expect(await page.getByRole('heading', { name: title, exact: true }).isVisible()).toBe(true)
    expect(await page.getByText(at(`${EVIL}/${EVIL}`), { exact: true }).count()).toBe(1)
    expect(complaints).toEqual([])
    await page.close()
  })

  test('the area of a directory is what it has in memory, its colour the share that is duplicate', async () => {
    const { page } = await openPage(browser, file)
    const now = page.locator('#now')
    const [old, both, own] = ['vms/old', 'vms/new', 'own'].map((name) => tileOf(now, name)) as [
      Locator,
      Locator,
      Locator,
    ]
    // Gaps and headings take some of it.
    expect((await areaOf(both)) / (await areaOf(old))).toBeCloseTo(2, 0)
    expect((await areaOf(own)) / (await areaOf(old))).toBeCloseTo(1, 0)
    expect(await tileOf(now, 'cold').count()).toBe(0)
    // The legend's ends, as the style sheet names them.
    const none = await page.evaluate(`
      document.querySelector('nav').style.background = 'color-mix(in oklab, var(--none), var(--none))'
      getComputedStyle(document.querySelector('nav')).backgroundColor`)
    expect(await backgroundOf(own)).toBe(none)
    expect(await backgroundOf(old)).not.toBe(none)
    expect(await backgroundOf(old)).toBe(await backgroundOf(both))
    await page.close()
  })

  test('a directory fills the map when it is chosen, by mouse or keyboard; Escape and the button go back', async () => {
    const { page, complaints } = await openPage(browser, file)
    const now = page.locator('#now')
    const vms = tileOf(now, 'vms')
    const before = await areaOf(vms)
    const map = await areaOf(now.locator('.map'))
    await vms.click({ position: { x: 5, y: 5 } })
    expect((await areaOf(vms)) / map).toBeGreaterThan(0.99)
    expect(await tileOf(now, 'own').isVisible()).toBe(false)
    expect(await tileOf(now, 'vms/old').isVisible()).toBe(true)
    expect(await now.locator('nav').textContent()).toContain(at('vms'))
    await now.getByRole('button', { name: 'back' }).click()
    expect(await areaOf(vms)).toBeCloseTo(before, 0)
    await vms.focus()
    await page.keyboard.press('Enter')
    expect((await areaOf(vms)) / map).toBeGreaterThan(0.99)

    // The other map is at its own place.
    await page.getByRole('tab', { name: 'If all were read' }).click()
    const all = page.locator('#all')
    expect(await now.isVisible()).toBe(false)
    expect(await tileOf(all, 'cold').isVisible()).toBe(true)
    await page.keyboard.press('Escape')
    await page.getByRole('tab', { name: 'Cached now' }).click()
    expect((await areaOf(vms)) / map).toBeGreaterThan(0.99)
    await page.keyboard.press('Escape')
    expect(await areaOf(vms)).toBeCloseTo(before, 0)
    expect(complaints).toEqual([])
    await page.close()
  })

  test('without scripts the map and the tables are there', async () => {
    const { page } = await openPage(browser, file, { javaScriptEnabled: false })
    expect(await tileOf(page.locator('#now'), 'vms/new').isVisible()).toBe(true)
    expect(await page.getByRole('rowheader', { name: at('vms/old/a'), exact: true }).isVisible()).toBe(true)
    await page.close()
  })

  test('on a narrow screen the page does not scroll sideways, and the headings on the map do not lie over one another', async () => {
    const { page } = await openPage(browser, file, { viewport: { width: 420, height: 900 } })
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(420)
    const now = page.locator('#now')
    const top = async (name: string) => (await tileOf(now, name).boundingBox())!.y
    expect((await top('vms/old')) - (await top('vms'))).toBeGreaterThanOrEqual(16)
    await page.close()
  })

  test('dark where the reader has it dark', async () => {
    const paper = async (colorScheme: 'light' | 'dark') => {
      const { page } = await openPage(browser, file, { colorScheme })
      const color = await backgroundOf(page.locator('body'))
      await page.close()
      return color
    }
    expect(await paper('light')).toBe('rgb(255, 255, 255)')
    expect(await paper('dark')).toBe('rgb(20, 24, 29)')
  })
})
