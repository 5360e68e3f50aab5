"""What `./x` does, one noun a file.

    command       the table of commands, and errors as people see them
    environment   a folder with an interpreter, the packages it needs and the extension built for it
    extension     cargo, the linker, and the build of tercet._tercet
    check         ./x lint
    trial         ./x test
    script        ./x bench, conformance, stress
    page          ./x docs
    process       running other programs, with progress
    message       what is said, and how

Standard library only: this code runs before anything is installed.
"""
