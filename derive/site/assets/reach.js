// What scrolls sideways can be reached and moved by keys, as long as it is wider than its place.
addEventListener('load', () => { // when the theme has put its boxes around tables
    const wide = '.equation > div, .block, .block > div, .wide, .md-typeset__scrollwrap, figure, math[display=block]';
    const seen = new ResizeObserver(entries => {
        for (const { target } of entries) {
            const scrolls = getComputedStyle(target).overflowX === 'auto' && target.scrollWidth > target.clientWidth;
            if (scrolls) target.tabIndex = 0;
            else target.removeAttribute('tabindex');
        }
    });
    document.querySelectorAll(wide).forEach(element => seen.observe(element));
});
