import { render } from 'preact'

import { App } from './app/App.js'
import { signIn } from './app/session.js'
import './styles/base.css'
import './styles/layout.css'

const root = document.getElementById('app')
if (root) render(<App />, root)
signIn()
